// Editing a puzzle on the board: keyboard, touch and mouse, with undo.

import { Board, make } from "./board.js";

/**
 * @typedef {import("./board.js").Task} Task
 */

const MAZE_TOOLS = [["#", "Wall"], [" ", "Open"], ["S", "Start"], ["G", "Goal"]];
/** @type {Record<string, string>} */
const MAZE_KEYS = { "#": "#", w: "#", x: "#", " ": " ", ".": " ", o: " ", s: "S", g: "G", delete: " ", backspace: " " };
const MOST_UNDO = 500;

/** The puzzle that is on the board, as it is edited. */
export class Editor {
    /**
     * @param {HTMLElement} host of the board
     * @param {HTMLElement} pad of the keys beneath it
     * @param {Task} task
     * @param {string} puzzle its one-line text
     */
    constructor(host, pad, task, puzzle) {
        this.task = task;
        this.text = puzzle;
        /** @type {string[]} */
        this.past = [];
        /** @type {string[]} */
        this.future = [];
        this.cursor = 0;
        this.tool = "#";
        /** Called when the puzzle has changed. @type {() => void} */
        this.onChange = () => {};
        host.replaceChildren();
        pad.replaceChildren();
        const name = task.kind === "sudoku" ? "Sudoku" : "Maze";
        this.board = new Board(host, task, { label: `${name}, ${task.rows} by ${task.columns}` });
        this.board.cells.forEach((cell, place) => (cell.tabIndex = place ? -1 : 0));
        this.#listen();
        if (task.kind === "sudoku") this.#digits(pad);
        else this.#tools(pad);
        this.board.show(puzzle);
    }

    /** A puzzle without givens. */
    get blank() {
        return (this.task.kind === "sudoku" ? "0" : " ").repeat(this.task.cells);
    }

    #listen() {
        const element = this.board.element;
        const at = (/** @type {Event} */ event) => {
            const cell = /** @type {HTMLElement} */ (event.target).closest?.(".cell");
            return cell ? this.board.cells.indexOf(/** @type {HTMLElement} */ (cell)) : -1;
        };
        element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
        element.addEventListener("focusin", (/** @type {Event} */ event) => at(event) >= 0 && this.#select(at(event), false));
        let drawing = "";
        element.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
            const place = at(event);
            if (place < 0 || event.button) return;
            this.#select(place, true);
            event.preventDefault();
            if (this.task.kind === "sudoku") return;
            // A wall that is drawn on a wall takes it away, and so does the rest of the stroke.
            drawing = this.tool === "#" && this.text[place] === "#" ? " " : this.tool;
            this.#keep();
            this.#put(place, drawing);
        });
        element.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
            if (!drawing || !event.buttons) return;
            const under = document.elementFromPoint(event.clientX, event.clientY)?.closest(".cell");
            const place = this.board.cells.indexOf(/** @type {HTMLElement} */ (under));
            if (place >= 0 && (drawing === "S" || drawing === "G" || !"SG".includes(this.text[place]))) this.#put(place, drawing);
        });
        for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, () => (drawing = ""));
    }

    /** @param {KeyboardEvent} event */
    #key(event) {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const { columns, cells } = this.task;
        const column = this.cursor % columns;
        /** @type {Record<string, number>} */
        const moves = {
            ArrowUp: this.cursor >= columns ? -columns : 0, ArrowDown: this.cursor + columns < cells ? columns : 0,
            ArrowLeft: column ? -1 : 0, ArrowRight: column + 1 < columns ? 1 : 0,
            Home: -column, End: columns - 1 - column,
        };
        const key = event.key.toLowerCase();
        if (event.key in moves) this.#select(this.cursor + moves[event.key], true);
        else if (this.task.kind === "maze" && key in MAZE_KEYS) this.set(this.cursor, MAZE_KEYS[key]);
        else if (this.task.kind === "maze" && key === "enter") this.set(this.cursor, this.tool);
        else if (this.task.kind === "sudoku" && this.#digit(key) !== null) this.set(this.cursor, /** @type {string} */ (this.#digit(key)));
        else return;
        event.preventDefault();
    }

    /** @param {string} key */
    #digit(key) {
        if (["0", ".", " ", "backspace", "delete"].includes(key)) return "0";
        return key.length === 1 && key >= "1" && key <= String(this.task.columns) ? key : null;
    }

    /** @param {number} place @param {boolean} focus */
    #select(place, focus) {
        this.board.cells[this.cursor].tabIndex = -1;
        this.board.cells[this.cursor].classList.remove("selected");
        this.cursor = place;
        this.board.cells[place].tabIndex = 0;
        this.board.cells[place].classList.add("selected");
        if (focus) this.board.cells[place].focus({ preventScroll: false });
    }

    #keep() {
        if (this.past.at(-1) !== this.text) this.past.push(this.text);
        if (this.past.length > MOST_UNDO) this.past.shift();
        this.future = [];
    }

    /** @param {number} place @param {string} character */
    #put(place, character) {
        let text = this.text;
        // A maze has one start and one goal: where one is put, the one before goes.
        if (character === "S" || character === "G") text = text.replace(character, " ");
        text = text.slice(0, place) + character + text.slice(place + 1);
        if (text === this.text) return;
        this.text = text;
        this.board.show(text);
        this.onChange();
    }

    /** Write a cell. @param {number} place @param {string} character */
    set(place, character) {
        this.#keep();
        this.#put(place, character);
    }

    /** Another puzzle. @param {string} text */
    replace(text) {
        this.#keep();
        this.text = text;
        this.board.show(text);
        this.onChange();
    }

    undo() {
        let before = this.past.pop();
        while (before === this.text) before = this.past.pop();
        if (before === undefined) return;
        this.future.push(this.text);
        this.text = before;
        this.board.show(before);
        this.onChange();
    }

    redo() {
        const next = this.future.pop();
        if (next === undefined) return;
        this.past.push(this.text);
        this.text = next;
        this.board.show(next);
        this.onChange();
    }

    /** @param {HTMLElement} pad */
    #digits(pad) {
        for (let digit = 1; digit <= this.task.columns; digit++) {
            const key = make("button", "key-digit", { type: "button", "aria-label": `Write ${digit}` }, String(digit));
            key.addEventListener("click", () => this.set(this.cursor, String(digit)));
            pad.append(key);
        }
        const erase = make("button", "key-digit", { type: "button", "aria-label": "Erase the cell", title: "Erase" }, "\u232b");
        erase.addEventListener("click", () => this.set(this.cursor, "0"));
        pad.append(erase);
    }

    /** @param {HTMLElement} pad */
    #tools(pad) {
        for (const [character, name] of MAZE_TOOLS) {
            const swatch = make("span", `swatch ${name.toLowerCase()}`, { "aria-hidden": "true" });
            const key = make("button", "key-tool", { type: "button", "aria-pressed": String(character === this.tool) }, swatch, name);
            key.addEventListener("click", () => {
                this.tool = character;
                for (const other of pad.children) other.setAttribute("aria-pressed", String(other === key));
            });
            pad.append(key);
        }
    }
}
