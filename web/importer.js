// The dialog for puzzles as text: pasted, typed or from a file.

import { make } from "./board.js";
import { readPuzzles } from "./read.js";

/** @typedef {import("./board.js").Task} Task */

const MOST_BYTES = 10 << 20; // as `trm-deploy run` takes of what is read as a whole
const SHOWN = 3;

/** @param {string} id @returns {any} */
const at = (id) => document.getElementById(id);

export class Importer {
    /** @param {(puzzle: string) => void} take called with the puzzle that was chosen */
    constructor(take) {
        /** @type {Task | null} */
        this.task = null;
        /** @type {string[]} */
        this.puzzles = [];
        this.read = ""; // the text that these are from
        at("import-take").addEventListener("click", () => {
            if (this.puzzles.length > 1 && this.read === at("import-text").value) {
                take(this.puzzles[Number(at("import-number").value)]);
                at("import").close();
            } else this.#show(at("import-text").value, take);
        });
        at("import-file").addEventListener("change", async () => {
            const [file] = at("import-file").files;
            if (!file) return;
            if (file.size > MOST_BYTES) {
                at("import-problem").textContent = `${file.name} has ${file.size.toLocaleString("en")} bytes, expected at most ${MOST_BYTES.toLocaleString("en")}`;
                return;
            }
            at("import-text").value = decoded(await file.arrayBuffer());
            this.#show(at("import-text").value, take);
        });
        this.take = take;
    }

    open() {
        at("import-problem").textContent = "";
        at("import-choice").hidden = true;
        at("import").showModal();
        at("import-text").focus();
    }

    /** Text that was pasted beside the dialog: a puzzle is taken, anything else is shown in it. @param {string} text */
    paste(text) {
        const found = this.#puzzles(text);
        if (found.puzzles.length === 1 && !found.faults.length) {
            this.take(found.puzzles[0]);
            return;
        }
        this.open();
        at("import-text").value = text;
        this.#show(text, this.take);
    }

    /** @param {string} text @returns {{puzzles: string[], faults: string[]}} */
    #puzzles(text) {
        if (text.length > MOST_BYTES) {
            return { puzzles: [], faults: [`${text.length.toLocaleString("en")} characters, expected at most ${MOST_BYTES.toLocaleString("en")}`] };
        }
        const entries = readPuzzles(/** @type {Task} */ (this.task), text);
        const puzzles = entries.flatMap(({ puzzle }) => puzzle ?? []);
        // A single puzzle whose givens break the rules goes on the board, where they are marked.
        const single = entries.length === 1 && puzzles.length === 1;
        return { puzzles, faults: single ? [] : entries.flatMap(({ fault }) => fault ?? []) };
    }

    /** @param {string} text @param {(puzzle: string) => void} take */
    #show(text, take) {
        const { puzzles, faults } = this.#puzzles(text);
        [this.puzzles, this.read] = [puzzles, text];
        at("import-choice").hidden = puzzles.length < 2;
        const more = faults.length > SHOWN ? `\nand ${faults.length - SHOWN} more` : "";
        at("import-problem").textContent = faults.slice(0, SHOWN).join("\n") + more;
        at("import-take").textContent = puzzles.length > 1 ? "Take it" : "Read";
        if (puzzles.length === 1 && !faults.length) {
            take(puzzles[0]);
            at("import").close();
        }
        // A list of a thousand is enough to choose from.
        at("import-number").replaceChildren(...puzzles.slice(0, 1000).map((puzzle, number) =>
            make("option", "", { value: number }, `${number + 1}: ${puzzle.slice(0, 24)}…`)));
        if (puzzles.length === 1 && faults.length) {
            this.puzzles = [puzzles[0], puzzles[0]]; // read with complaints: taken at the second press
            at("import-choice").hidden = false;
            at("import-take").textContent = "Take it";
        }
    }
}

/**
 * The text of a file: UTF-8, or UTF-16 with its mark, or the older encoding of Western Europe.
 * @param {ArrayBuffer} buffer
 */
function decoded(buffer) {
    const bytes = new Uint8Array(buffer);
    if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
    if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder("utf-16be").decode(bytes);
    try {
        return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
        return new TextDecoder("windows-1252").decode(bytes);
    }
}
