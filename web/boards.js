// Puzzles in JSON, in code and in tables: as `trm-deploy run` reads them.

import { Shapes } from "./grids.js";

/**
 * @typedef {import("./read.js").Entry} Entry
 * @typedef {(text: string, place: string | number) => Entry} Finish
 */

const QUESTIONS = words("puzzle question quiz quizze quizz sudoku clue given unsolved problem grid board challenge start initial input task game "
    + "maze mission init original incomplete data value string");
const ANSWERS = words("answer solution solved result label target output response complete completed filled final solve");
const ABOUT = words("id no nr number num index name title level difficulty rating type size");
const EMPTY = new Set(["None", "none", "null", "NULL", "nil", "nan", "NaN", "undefined", "NA", "Nothing"]);
const DEEPEST = 12;

/** The words of a name in lower case, without the s of a plural. @param {string} name */
function words(name) {
    const spaced = name.replace(/([a-z])([A-Z])/g, "$1 $2");
    return new Set((spaced.match(/[A-Za-z]+/g) ?? []).map((word) => word.toLowerCase().replace(/s$/, "")));
}

/** @param {string} name */
export function isQuestion(name) {
    const found = [...words(name)];
    return found.length === 1 && (name.match(/[A-Za-z]+/g) ?? []).length === 1 && QUESTIONS.has(found[0]) && /^[\w\s.#'"-]*$/.test(name);
}

/** @param {string} name */
export function isAnswer(name) {
    return [...words(name)].some((word) => ANSWERS.has(word));
}

/** @param {string} name */
function hints(name) {
    const found = [...words(name)];
    return found.some((word) => QUESTIONS.has(word)) && !found.some((word) => ABOUT.has(word));
}

/**
 * The column that holds the puzzles; -1 where none does, a complaint where several might be meant.
 * @param {string[]} names @param {string[]} values of the first row @param {Shapes} shapes
 * @returns {number | string}
 */
export function choose(names, values, shapes) {
    const places = [...names.keys()];
    const open = places.filter((place) => !isAnswer(names[place]));
    const whole = new Set([...values.keys()].filter((place) => isWhole(shapes, values[place])));
    const known = open.filter((place) => isQuestion(names[place]));
    const hinted = open.filter((place) => hints(names[place]));
    const pools = [known, hinted, [...whole].filter((place) => !isAnswer(names[place] ?? ""))].map((pool) => pool.filter((place) => whole.has(place)));
    let pool = pools.find((each) => each.length) ?? [];
    if (pool.length) {
        const unsolved = pool.filter((place) => !shapes.isSolved(values[place]));
        pool = unsolved.length ? unsolved : pool.slice(0, 1);
        if (new Set(pool.map((place) => values[place])).size > 1) return `the columns ${pool.map((place) => names[place] || place + 1).join(" and ")} both hold puzzles`;
        return pool[0];
    }
    const plain = known.filter((place) => ["puzzle", "question"].includes([...words(names[place])][0]));
    return [...plain, ...known, ...hinted][0] ?? -1;
}

/** @param {Shapes} shapes @param {string} text */
export function isWhole(shapes, text) {
    return shapes.spaces ? text.length === shapes.cells : shapes.isWhole(text);
}

/**
 * The cells of a board: nested lists, lists of strings, strings, numbers; null where a value is none.
 * @param {unknown} value @param {Shapes} shapes
 * @returns {string | null}
 */
export function boardText(value, shapes) {
    if (typeof value === "string") return value.includes("\n") && !shapes.spaces ? value.replace(/[\s|:!¦]/g, "") : value;
    if (typeof value === "number") return String(value);
    if (!Array.isArray(value)) return null;
    const joined = (/** @type {unknown[]} */ row) => {
        const cells = row.map((cell) => cellText(cell, shapes));
        return cells.includes("") ? null : cells.join("");
    };
    if (value.length === shapes.cells && shapes.cells !== shapes.rows) return joined(value);
    if (value.length !== shapes.rows) return null;
    const rows = value.map((row) => {
        if (typeof row === "string") return row.length === shapes.columns ? row : row.replace(/[\s|:!¦]/g, "");
        if (!Array.isArray(row)) return null;
        const flat = row.length === shapes.columns ? row : row.every(Array.isArray) ? row.flat() : [];
        return flat.length === shapes.columns ? joined(flat) : null;
    });
    return rows.every((row) => row?.length === shapes.columns) ? rows.join("") : null;
}

/** One character, or empty where a value is no cell. @param {unknown} cell @param {Shapes} shapes */
function cellText(cell, shapes) {
    if (cell === null || cell === "") return " ";
    const text = String(cell);
    if (typeof cell === "number") return text.length === 1 && (shapes.digits.has(text) || text === "0") && !shapes.spaces ? text : "";
    if (typeof cell !== "string") return "";
    if (text.length === 1) return shapes.spaces ? ("# SGo.".includes(text) ? text : "") : shapes.symbols.has(text) || text === " " ? text : "";
    return /^[1-9]\.0$/.test(text) && shapes.digits.has(text[0]) ? text[0] : "";
}

/** Whether a solved text is the answer to a puzzle. @param {string | null} question @param {string} text @param {Shapes} shapes */
function answers(question, text, shapes) {
    if (!question || question === text || shapes.spaces || !shapes.isSolved(text) || text.length !== question.length) return false;
    return [...question].every((c, place) => !shapes.digits.has(c) || c === text[place]);
}

/** Walks a JSON document. @param {any} document @param {Shapes} shapes @param {Finish} finish @returns {Entry[]} */
export function readDocument(document, shapes, finish) {
    /** @type {Entry[]} */
    const found = [];
    const board = (/** @type {any} */ value) => {
        if (value === null || typeof value === "number" || (typeof value === "object" && !Array.isArray(value))) return null;
        const text = boardText(value, shapes);
        if (text === null || (typeof value === "string" && !isWhole(shapes, text))) return null;
        return text.length === shapes.cells ? text : null;
    };
    const walk = (/** @type {any} */ value, /** @type {string} */ path, /** @type {number} */ depth) => {
        const text = board(value);
        if (text !== null) found.push(finish(text, path));
        else if (depth >= DEEPEST || value === null || typeof value !== "object") return;
        else if (Array.isArray(value)) {
            const fault = nearly(value, shapes);
            if (fault) found.push({ fault: `${path} ${fault}`.trim() });
            else value.forEach((entry, place) => {
                if (place && typeof entry === "string" && answers(board(value[place - 1]), entry, shapes)) return;
                walk(entry, value.length > 1 ? `${path}[${place + 1}]` : path, depth + 1);
            });
        } else object(byRow(value), path, depth);
    };
    const object = (/** @type {any} */ value, /** @type {string} */ path, /** @type {number} */ depth) => {
        const keys = Object.keys(value);
        let texts = keys.map((key) => board(value[key]) ?? "");
        if (texts.filter(Boolean).length > 1 && areNumbered(keys)) texts = [];
        const known = keys.some((key) => isQuestion(key) && !(value[key] && typeof value[key] === "object" && !Array.isArray(value[key])));
        const named = texts.length > 0 && known && keys.some((key) => typeof value[key] === "string");
        if (texts.some(Boolean) || named) {
            const chosen = choose(keys, texts, shapes);
            if (typeof chosen === "string") {
                found.push({ fault: `${path} ${chosen}`.trim() });
                return;
            }
            const text = chosen < 0 ? null : texts[chosen] || ["string", "number"].includes(typeof value[keys[chosen]]) ? texts[chosen] || String(value[keys[chosen]]) : null;
            if (text !== null) {
                found.push(finish(text, `${path} ${keys[chosen]}`.trim()));
                return;
            }
        }
        for (const key of keys) if (!isAnswer(key)) walk(value[key], `${path} ${key}`.trim(), depth + 1);
    };
    walk(document, "", 0);
    return found;
}

/** @param {string[]} names */
export function areNumbered(names) {
    return names.length > 1 && new Set(names.map((name) => name.replace(/\d+/g, ""))).size === 1;
}

/** A data frame as columns or in parts, as its rows. @param {any} value */
function byRow(value) {
    const { columns, data } = value;
    if (Array.isArray(columns) && Array.isArray(data) && data.every(Array.isArray)) {
        return { data: data.map((row) => Object.fromEntries(columns.map((name, place) => [String(name), row[place]]))) };
    }
    const frame = Object.values(value);
    const same = frame.length && frame.every((column) => column && typeof column === "object" && !Array.isArray(column)
        && String(Object.keys(column)) === String(Object.keys(frame[0] ?? {})) && Object.keys(column).length);
    if (!same || !Object.keys(frame[0]).every((key) => /^\d+$/.test(key))) return value;
    return { data: Object.keys(frame[0]).map((row) => Object.fromEntries(Object.keys(value).map((name) => [name, value[name][row]]))) };
}

/** What is wrong with a list that is all but a board; empty where nothing is. @param {any[]} value @param {Shapes} shapes */
function nearly(value, shapes) {
    const cell = (/** @type {any} */ each) => (each === null || typeof each !== "object") && !(typeof each === "string" && each.length > 8);
    if (value.length < 2 || !value.every((row) => Array.isArray(row) && row.every(cell))) return "";
    if (value.every((row) => row.length === value.length) && value.length !== shapes.rows) return `looks like ${value.length} x ${value.length}; the model is for ${shapes.rows} x ${shapes.columns}`;
    if (value.every((row) => row.length === shapes.cells)) return "";
    for (const [number, row] of value.entries()) {
        if (row.length !== shapes.columns) return `row ${number + 1} has ${row.length} cells, expected ${shapes.columns}`;
        const strange = row.findIndex((/** @type {any} */ each) => cellText(each, shapes) === "");
        if (strange >= 0) return `row ${number + 1} column ${strange + 1} is ${String(row[strange]).slice(0, 40)}, expected a digit or a blank`;
    }
    return `the grid has ${value.length} rows, expected ${shapes.rows}`;
}

// ------------------------------------------------------------------------------------------------------------ code

const GROUP = /[[({]([^[\](){}]*)[\])}]|("{3}|'{3})([\s\S]*?)\2|"([^"\n]*)"|'([^'\n]*)'|`([^`]*)`/g;
const BETWEEN = /^(?:[\s,;|&\w!:.=>+\\-]|\[\d*\]|#[^\n]*|\/\/[^\n]*){0,200}$/;

/** Boards in brackets, and strings that hold a puzzle or a row. @param {string} text @param {Shapes} shapes @param {Finish} finish */
export function readCode(text, shapes, finish) {
    /** @type {Entry[]} */
    const found = [];
    /** @type {{text: string, start: number, end: number}[]} */
    let rows = [];
    const named = (/** @type {string} */ cells, /** @type {number} */ start) =>
        shapes.isSolved(cells) && isAnswer(/([A-Za-z_][A-Za-z_0-9]*)[^A-Za-z]*$/.exec(text.slice(Math.max(start - 80, 0), start))?.[1] ?? "");
    const line = (/** @type {number} */ place) => text.slice(0, place).split("\n").length;
    const end = () => {
        const board = rows;
        rows = [];
        if (!board.length) return;
        const whole = board.map((row) => row.text).join("");
        if (named(whole, board[0].start)) return;
        const fits = board.every((row) => row.text.length === shapes.columns);
        const opens = opened(text.slice(Math.max(board[0].start - 200, 0), board[0].start));
        const closes = /^[\])}]/.test(text.slice(board[board.length - 1].end, board[board.length - 1].end + 200).replace(/(?:#|\/\/)[^\n]*/g, "").replace(/^[\s,;|]+/, ""));
        if (fits && board.length % shapes.rows === 0 && (board.length === shapes.rows || !opens)) {
            if (opens !== closes) found.push({ fault: `line ${line(board[0].start)}: rows of two lists, the end of the one or the beginning of the other is missing` });
            else for (let at = 0; at < board.length; at += shapes.rows) {
                found.push(finish(board.slice(at, at + shapes.rows).map((row) => row.text).join(""), line(board[at].start)));
            }
        } else if (board.length > 1 || 3 * whole.length > shapes.cells) {
            const square = board.length > 1 && board.every((row) => row.text.length === board.length);
            const odd = board.findIndex((row) => row.text.length !== shapes.columns);
            const fault = square ? `looks like ${board.length} x ${board.length}; the model is for ${shapes.rows} x ${shapes.columns}`
                : odd >= 0 ? `row ${odd + 1} of a grid has ${board[odd].text.length} cells, expected ${shapes.columns}` : `the grid has ${board.length} rows, expected ${shapes.rows}`;
            found.push({ fault: `line ${line(board[0].start)}: ${fault}` });
        }
    };
    for (const match of text.matchAll(GROUP)) {
        const inside = match[1];
        if (inside !== undefined && inside.length < 3 && /^\s*\d*\s*$/.test(inside)) continue; // an index, or a type's brackets
        const string = match[3] ?? match[4] ?? match[5] ?? match[6];
        let row = inside === undefined ? stringCells(string, shapes) : bracketCells(inside, shapes);
        const wholes = inside !== undefined && (row === null || row.length > shapes.cells) ? stringsIn(inside, shapes) : [];
        if (wholes.length) row = null;
        if (row === null || row.length === shapes.cells) end();
        const each = row?.length === shapes.cells ? [{ word: row, at: 0 }] : wholes;
        for (const { word, at } of each) {
            if (!named(word, match.index + at)) found.push(finish(word, line(match.index + at)));
        }
        if (row === null || row.length === shapes.cells) continue;
        const last = rows.at(-1);
        if (last && !BETWEEN.test(text.slice(last.end, match.index))) end();
        rows.push({ text: row, start: match.index, end: match.index + match[0].length });
    }
    end();
    return found;
}

/** Whether a list of lists begins in front of its first row. @param {string} before */
function opened(before) {
    const strip = (/** @type {string} */ text) => text.replace(/[A-Za-z0-9_!.:\s|]+$/, "");
    let rest = strip(before.replace(/(?:#|\/\/)[^\n]*/g, ""));
    for (let index; (index = /\[\d*\]$/.exec(rest)); ) rest = strip(rest.slice(0, index.index));
    return /[[({]$/.test(rest);
}

/** @param {string} inside @param {Shapes} shapes */
function stringsIn(inside, shapes) {
    /** @type {{word: string, at: number}[]} with its place behind the bracket */
    const found = [];
    let before = "";
    for (const match of inside.matchAll(/'([^'\n]*)'|"([^"\n]*)"/g)) {
        const word = match[1] ?? match[2];
        if (!shapes.isWhole(word)) continue;
        if (!(before && answers(before, word, shapes))) found.push({ word, at: 1 + match.index });
        before = word;
    }
    return found;
}

/** The cells between brackets; null where they are not a row's. @param {string} inside @param {Shapes} shapes @returns {string | null} */
function bracketCells(inside, shapes) {
    let cells = "";
    for (const match of inside.matchAll(/'([^'\n]*)'|"([^"\n]*)"|([^\s,;|'"]+)/g)) {
        const quoted = match[1] ?? match[2];
        const word = quoted ?? match[3];
        if (word.length === 1) cells += word;
        else if (word === "" || EMPTY.has(word)) cells += " ";
        else if (/^\d\.0*$/.test(word)) cells += word[0];
        else if (quoted !== undefined || word.length === shapes.columns || word.length === shapes.cells) {
            const found = stringCells(word, shapes);
            if (found === null) return null;
            cells += found;
        } else return null;
    }
    return cells.length > 1 ? cells : null;
}

/** The cells of a string that is a row, a puzzle, or a grid over several lines. @param {string} word @param {Shapes} shapes */
function stringCells(word, shapes) {
    if (word && [shapes.columns, shapes.cells].includes(word.length) && [...word].every((c) => c === " " || shapes.digits.has(c))) return word;
    const rows = word.split("\n").filter((line) => line.trim() && shapes.item(1, line).kind !== "rule").map((line) => shapes.item(1, line));
    if (rows.length === shapes.rows && rows.every((item) => item.kind === "row")) return rows.map((item) => item.text).join("");
    const text = word.replace(/[\s|+]/g, "");
    return text.length >= 2 && shapes.isCells(text) ? text : null;
}
