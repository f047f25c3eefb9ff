// Reads puzzles from text, in the forms that `trm-deploy run` reads. Never a puzzle that nobody wrote: what could be read
// in two ways, or is damaged, is refused.

import { areNumbered, boardText, choose, isAnswer, isQuestion, readCode, readDocument } from "./boards.js";
import { BLANKS, Shapes, content, readGrids } from "./grids.js";
import { cellsSeparator, looksLikeTable, readCells, readTable } from "./tables.js";
import { questionFaults } from "./sudoku.js";
import * as maze from "./maze.js";
import { toTokens } from "./board.js";

/**
 * @typedef {import("./board.js").Task} Task
 * @typedef {{puzzle?: string, text?: string, fault?: string}} Entry a puzzle in its one-line form, or what is wrong;
 *     both where its givens break the rules
 */

const SIDES = [4, 6, 9, 12, 16, 25];
const HEADER = /^\s*\[\s*([A-Za-z][\w ]*?)\s*\]\s*$/;
const PUZZLES = ["puzzle", "givens", "given", "clues", "original", "quiz", "sudoku"];
const OTHERS = ["state", "pencilmarks", "candidates", "solution", "answer", "settings", "progress", "current"];
const COMMENT = /^\s*(#|\/\/|%|--)/;
const ASSIGNS = /^[\w\s.<>[\]:*,&]*(?:=|<-)\s*[^=\n]*[[({"'`]/;
const ARC_TASK = /["'](?:train|test)["']\s*:\s*\[\s*\{\s*["'](?:input|output)["']\s*:/;

/**
 * The puzzles of a text, and what is wrong with others.
 * @param {Task} task
 * @param {string} text
 * @returns {Entry[]} never empty
 */
export function readPuzzles(task, text) {
    const shapes = new Shapes(task);
    const finish = finisher(task, shapes);
    const clean = text.replace(/^\ufeff/, "").replace(/\r\n?/g, "\n").replace(/\x1a\s*$/, "");
    if (clean.includes("\0")) return [{ fault: "is not text (a zero byte)" }];
    const found = shapes.spaces ? readMazes(clean, shapes, finish) : readSudokus(clean, shapes, finish);
    return found.length ? found : [{ fault: `holds no puzzle, expected a line of ${task.cells} characters` }];
}

/**
 * Makes an entry of the cells of a puzzle.
 * @param {Task} task @param {Shapes} shapes
 * @returns {(text: string, place: string | number) => Entry}
 */
function finisher(task, shapes) {
    return (text, where) => {
        const place = typeof where === "number" ? `line ${where}` : where;
        const refuse = (/** @type {string} */ fault) => ({ text, fault: `${place} ${fault}`.trim().replace(/^(line \d+) /, "$1: ") });
        const symbols = shapes.spaces ? "# SGo." : "123456789".slice(0, task.columns) + BLANKS;
        const strange = [...text].findIndex((c) => !symbols.includes(c));
        if (text.length !== task.cells) {
            const side = SIDES.find((each) => each * each === text.length);
            if (!shapes.spaces && side && /^[0-9A-Za-z.\-*?_ ]+$/.test(text)) return refuse(`looks like ${side} x ${side}; the model is for ${task.rows} x ${task.columns}`);
            return refuse(`${text.length} characters, expected ${task.cells} (${task.rows} rows of ${task.columns})`);
        }
        if (strange >= 0) return refuse(`column ${strange + 1}: found '${text[strange]}', expected ${shapes.spaces ? "# (wall), a space or . (open), S, G" : "a digit or a blank"}`);
        const puzzle = shapes.spaces ? text.replaceAll(".", " ") : [...text].map((c) => (shapes.digits.has(c) ? c : "0")).join("");
        const blanks = new Set([...text].filter((c) => !shapes.spaces && !shapes.digits.has(c)));
        if (blanks.size > 1) return refuse(`several blanks (${[...blanks].map((c) => `'${c}'`).join(", ")}) are in one puzzle, expected one`);
        const rules = shapes.spaces ? maze.questionFaults : questionFaults;
        const faults = rules(task, toTokens(task, puzzle));
        return faults.length ? { puzzle, ...refuse(`the givens break the rules: ${faults.slice(0, 6).join("; ")}`) } : { puzzle, text };
    };
}

/** @param {string} text @param {Shapes} shapes @param {(text: string, place: string | number) => Entry} finish @returns {Entry[]} */
function readSudokus(text, shapes, finish) {
    const lines = content(text);
    const first = lines.find((line) => line.trim()) ?? "";
    const grids = () => readGrids(lines, shapes, finish, isQuestion);
    if (shapes.isWhole(first.trim())) return grids();
    if (["row or rule", "rule", "row"].includes(shapes.item(1, first).kind) && !/[[\]{}();,\t"]/.test(first)) return grids();
    const objects = first.trim().startsWith("{") ? readObjects(text, shapes, finish) : null;
    if (objects) return objects;
    if (/^[\ufeff \t]*</.test(first)) return readXml(text, shapes, finish);
    if (lines.slice(0, 60).some((line) => [...PUZZLES, ...OTHERS].includes(section(line)))) return readSections(lines, shapes, finish);
    const code = (text.split("\n").slice(0, 300).find((line) => line.trim() && !COMMENT.test(line)) ?? "").trim();
    const listed = !/^\[[A-Za-z]\w*\]$/.test(code) && (/^[{[]/.test(code) ? 3 : ASSIGNS.test(code) ? 2 : Number(halfABoard(text, shapes)));
    if (listed === 3) return readBoards(text, shapes, finish);
    const [separator, table] = looksLikeTable(text, shapes);
    const cells = cellsSeparator(text, shapes);
    if (listed === 2 && table <= 2) return readBoards(text, shapes, finish);
    if (table === 2) return readTable(text, separator, shapes, finish);
    if (cells) return readCells(text, cells, shapes, finish);
    if (listed) return readBoards(text, shapes, finish);
    return table ? readTable(text, separator, shapes, finish) : grids();
}

/** Whether brackets and strings hold half a board and more. @param {string} text @param {Shapes} shapes */
function halfABoard(text, shapes) {
    const groups = text.split("\n").slice(0, 300).join("\n").match(/[[({][^[\](){}]*[\])}]|"[^"\n]*"|'[^'\n]*'|`[^`]*`/g) ?? [];
    const rows = groups.map((group) => group.slice(1, -1).replace(/[\s,;|'"]/g, "")).filter((row) => [shapes.columns, shapes.cells].includes(row.length) && shapes.isCells(row));
    return 2 * rows.join("").length >= shapes.cells;
}

/** @param {string} text @param {Shapes} shapes @param {(text: string, place: string | number) => Entry} finish */
function readBoards(text, shapes, finish) {
    if (ARC_TASK.test(text)) return [{ fault: "holds ARC tasks, expected puzzles" }];
    let document;
    try {
        document = JSON.parse(text);
    } catch {
        return readCode(text, shapes, finish);
    }
    return document && typeof document === "object" ? readDocument(document, shapes, finish) : [];
}

/**
 * JSON Lines; null where the first line is no object with something that may be a puzzle directly in it.
 * @param {string} text @param {Shapes} shapes @param {(text: string, place: string | number) => Entry} finish
 * @returns {Entry[] | null}
 */
function readObjects(text, shapes, finish) {
    const parsed = (/** @type {string} */ line) => {
        try {
            return JSON.parse(line.trim().replace(/,$/, ""));
        } catch {
            return undefined;
        }
    };
    const lines = text.split("\n");
    const first = parsed(lines.find((line) => line.trim() && !line.startsWith("#")) ?? "");
    if (first === undefined) {
        if (!lines.filter((line) => line.trim()).slice(1, 3).some((line) => /^\{.*\}\s*$/.test(line))) return null;
    } else {
        if (areNumbered(Object.keys(first))) return null;
        const values = Object.values(first);
        const flat = values.some((value) => ["string", "number"].includes(typeof value) || boardText(value, shapes) !== null);
        if (values.some((value) => value && typeof value === "object") && !flat) return null;
    }
    /** @type {Entry[]} */
    const found = [];
    lines.forEach((line, place) => {
        if (!line.trim() || line.trim().startsWith("#")) return;
        const value = parsed(line);
        const document = typeof value === "string" ? { puzzle: value } : value;
        if (!document || typeof document !== "object" || Array.isArray(document)) {
            found.push({ fault: `line ${place + 1}: is not a JSON object with a puzzle` });
            return;
        }
        const keys = Object.keys(document);
        const texts = keys.map((key) => boardText(document[key], shapes) ?? "");
        const chosen = choose(keys, texts, shapes);
        if (typeof chosen === "string" || chosen < 0 || !texts[chosen]) found.push({ fault: `line ${place + 1}: ${typeof chosen === "string" ? chosen : "no key holds a puzzle"}` });
        else found.push(finish(texts[chosen], place + 1));
    });
    return found;
}

/** @param {string} line */
function section(line) {
    return (HEADER.exec(line)?.[1] ?? "").toLowerCase().replaceAll(" ", "");
}

/** Sections in brackets, of which only the puzzle is a question. @param {string[]} lines @param {Shapes} shapes @param {(text: string, place: string | number) => Entry} finish */
function readSections(lines, shapes, finish) {
    let [inside, headed] = [true, false];
    const kept = lines.map((line) => {
        if (!HEADER.test(line)) return inside ? line : "";
        inside = PUZZLES.includes(section(line));
        headed ||= inside;
        return "[]"; // so that rows before and behind it do not meet
    });
    const found = readGrids(kept, shapes, finish, isQuestion).filter((entry) => entry.text !== "[]");
    return found.length || headed ? found : [{ fault: "has no [Puzzle], expected the givens under that header" }];
}

/** OpenSudoku, and other XML with a puzzle in an attribute or an element's text. @param {string} text @param {Shapes} shapes @param {(text: string, place: string | number) => Entry} finish */
function readXml(text, shapes, finish) {
    if (/^\s*(<!doctype html|<html)/i.test(text)) return [{ fault: "is a web page, expected a file with puzzles" }];
    if (/<!DOCTYPE/i.test(text)) return [{ fault: "has a document type, which may define entities; expected plain XML" }];
    // The text is decoded already, whatever encoding its first line names.
    const body = text.trimStart().replace(/^<\?xml[^]*?\?>/, "");
    const document = new DOMParser().parseFromString(body, "application/xml");
    if (document.querySelector("parsererror")) return [{ fault: "is not valid XML" }];
    /** @type {Entry[]} */
    const found = [];
    const take = (/** @type {[string, string][]} */ candidates) => {
        const given = candidates.map(([name, value]) => /** @type {[string, string]} */ ([name, givens(value.trim(), shapes)]));
        const data = given.findIndex(([name]) => name === "data");
        if (data < 0 && !given.some(([, value]) => shapes.isWhole(value))) return;
        const chosen = data >= 0 ? data : choose(given.map(([name]) => name), given.map(([, value]) => value), shapes);
        if (typeof chosen === "string") found.push({ fault: chosen });
        else if (chosen >= 0 && !(data < 0 && isAnswer(given[chosen][0]))) found.push(finish(given[chosen][1], given[chosen][0]));
    };
    for (const element of document.querySelectorAll("*")) {
        take([...element.attributes].map(({ name, value }) => [name, value]));
        const own = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE || node.nodeType === Node.CDATA_SECTION_NODE);
        const inside = own.map((node) => node.nodeValue ?? "").join("").trim();
        if (2 * inside.length > shapes.cells) take([[element.tagName, inside]]);
    }
    return found;
}

/** The givens of a game: one character a cell, or "version: N" and fields of each cell. @param {string} text @param {Shapes} shapes */
function givens(text, shapes) {
    if (!text.startsWith("version:")) return text.replace(/\s/g, "");
    const fields = text.replace(/^version: *\d*/, "").trim().replace(/^\|+|\|+$/g, "").split("|").map((field) => field.trim());
    for (const count of [3, 4]) {
        if (fields.length !== count * shapes.cells) continue;
        const cells = [...Array(shapes.cells).keys()];
        if (cells.every((cell) => ["0", "1"].includes(fields[cell * count + count - 1]))) {
            return cells.map((cell) => (fields[cell * count + count - 1] === "0" ? fields[cell * count] : "0")).join("");
        }
    }
    return fields.join("|");
}

/** Mazes one a line, grids of them, CSV and JSON Lines: spaces are cells. @param {string} text @param {Shapes} shapes @param {(text: string, place: string | number) => Entry} finish */
function readMazes(text, shapes, finish) {
    const lines = text.replace(/\n$/, "").split("\n");
    const isBlank = (/** @type {string} */ line) => !line.trim() && line.length !== shapes.columns;
    if ((lines.find((line) => line.trim()) ?? "").startsWith("{")) return readObjects(text, shapes, finish) ?? [];
    const [separator, sure] = looksLikeTable(text, shapes);
    if (sure) return readTable(text, separator, shapes, finish);
    /** @type {Entry[]} */
    const found = [];
    let [grid, first, broken] = ["", 0, false];
    const cut = () => {
        if (grid) found.push({ fault: `line ${first}: the grid ends after ${grid.length / shapes.columns} rows, expected ${shapes.rows}` });
        grid = "";
    };
    lines.forEach((line, place) => {
        if (isBlank(line)) {
            cut();
            broken = false;
        } else if (broken && line.length !== shapes.cells) return;
        else if (line.length === shapes.columns) {
            broken = false;
            if (!grid) first = place + 1;
            grid += line;
            if (grid.length < shapes.cells) return;
            found.push(finish(grid, first));
            grid = "";
        } else {
            broken = line.length !== shapes.cells;
            if (grid) found.push({ fault: `line ${place + 1}: row ${grid.length / shapes.columns + 1} of a grid has ${line.length} cells, expected ${shapes.columns}` });
            const lost = grid && broken;
            grid = "";
            if (!lost) found.push(finish(line, place + 1));
        }
    });
    cut();
    return found;
}
