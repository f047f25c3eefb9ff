// Puzzles in tables: a puzzle a row, or a cell a column; commas, semicolons, tabs or bars between columns.

import { boardText, choose, isAnswer, isQuestion, isWhole } from "./boards.js";
import { Shapes, content, resolve } from "./grids.js";

/**
 * @typedef {import("./read.js").Entry} Entry
 * @typedef {import("./grids.js").Item} Item
 * @typedef {(text: string, place: string | number) => Entry} Finish
 */

const SEPARATORS = ",;\t|";
const SAMPLE = 40;
const LONGEST_GRID = 99;
const SCIENTIFIC = /^[+-]?\d(?:[.,]\d*)?[eE][+-]?\d{1,3}$/;
const CELL = /^\s*['"]?(?:([^\s'"])(?:\.0*)?|nan|NaN|None|null|NULL|NA)?['"]?\s*$/;

/** Without comments, but for a # in quotes. @param {string} text @param {Shapes} shapes */
function uncommented(text, shapes) {
    return text.split("\n").map((line, number) => {
        if (number === 0 && /^"?sep=."?$/i.test(line)) return "";
        const [head] = line.split("#");
        return shapes.spaces || head.includes('"') ? line : head;
    });
}

/** The fields of a row; null where its quotes do not match. @param {string} line @param {string} separator @returns {string[] | null} */
function split(line, separator) {
    if (!line.includes('"')) return line.split(separator);
    const fields = [];
    let rest = line;
    for (;;) {
        if (rest[0] === '"') {
            const match = /^"((?:[^"]|"")*)"/.exec(rest);
            if (!match) return null;
            fields.push(match[1].replaceAll('""', '"'));
            rest = rest.slice(match[0].length);
            if (rest && rest[0] !== separator) return null;
        } else {
            const end = rest.indexOf(separator);
            fields.push(end < 0 ? rest : rest.slice(0, end));
            rest = end < 0 ? "" : rest.slice(end);
        }
        if (!rest) return fields;
        rest = rest.slice(1);
    }
}

/** A field without white space, quotes, or the = that keeps a spreadsheet from computing. @param {string} field */
function bare(field) {
    const text = field.trim();
    return text.length > 1 && "='\"".includes(text[0]) ? text.replace(/^=+/, "").replace(/^['"]+|['"]+$/g, "").trim() : text;
}

/** @param {string} line @param {string} separator */
function bareFields(line, separator) {
    return (split(line, separator) ?? []).map(bare);
}

/**
 * What parts the columns of a text with a puzzle a row, and how sure that is: 0 where it is no such text.
 * @param {string} text @param {Shapes} shapes
 * @returns {[string, number]}
 */
export function looksLikeTable(text, shapes) {
    const lines = shapes.spaces ? uncommented(text, shapes) : content(text);
    const sample = lines.slice(0, 300).filter((line) => line.trim()).slice(0, SAMPLE);
    const first = sample[0] ?? "";
    if (SCIENTIFIC.test(first.trim())) return [",", 0];
    const separators = [...SEPARATORS].filter((separator) => first.includes(separator));
    if (separators.some((separator) => first.split(separator).length > shapes.cells)) return [",", 0];
    if (!separators.length) return [",", isQuestion(first.trim()) && !/\d/.test(first) ? 2 : 0];
    const has = (/** @type {string[]} */ fields) => fields.some((field) => isWhole(shapes, field));
    for (const separator of separators) {
        const fields = bareFields(first, separator);
        if (has(fields) && (separator !== "|" || fields.length !== shapes.columns)) return [separator, 2];
        if (fields.some(isQuestion) && !fields.some((field) => /^\d+\.?\d*$/.test(field))) {
            const following = sample.slice(1);
            const gridded = !shapes.spaces && sample.some((line) => ["row", "row with spaces", "rule"].includes(shapes.item(1, line).kind));
            const named = !following.length || following[0].includes(separator) || !gridded || following[0].startsWith('"');
            if (named && !isCells(following.slice(0, 2), separator, shapes)) return [separator, 2];
        }
    }
    for (const separator of separators) {
        const table = sample.map((line) => bareFields(line, separator));
        if (table.length > 1 && table[0].length > 1 && has(table[1])) return [separator, 2];
    }
    for (const separator of separators) {
        const counts = new Set(sample.map((line) => bareFields(line, separator).length));
        const cells = isCells(sample, separator, shapes) || (!shapes.spaces && sample.some((line) => shapes.item(1, line).kind === "row"));
        if (counts.size === 1 && !counts.has(1) && separator !== "|" && (shapes.spaces || !cells)) return [separator, 1];
    }
    return [separators[0], Number(shapes.spaces && separators[0] === ",")];
}

/** The puzzles of a table that has one a row. @param {string} text @param {string} separator @param {Shapes} shapes @param {Finish} finish */
export function readTable(text, separator, shapes, finish) {
    /** @type {Entry[]} */
    const found = [];
    /** @type {string[] | null} */
    let header = null;
    let chosen = -1;
    const lines = records(uncommented(text, shapes), separator, shapes);
    for (const [number, line] of lines) {
        if (!line.trim() && !(shapes.spaces && line.length === shapes.cells)) continue;
        if (separator === "|" && header && /^[\s|:-]+$/.test(line)) continue;
        const raw = SCIENTIFIC.test(line.trim()) ? [line] : split(line, separator);
        if (!raw) {
            found.push({ fault: `line ${number}: is not a CSV row` });
            continue;
        }
        const fields = shapes.spaces ? raw : raw.map(bare);
        if (header === null) {
            const data = fields.some((field) => isWhole(shapes, field)) || isData(fields, shapes);
            header = data ? [] : raw.map(bare);
            if (!data) continue;
        }
        if (chosen < 0) {
            const column = choose(header.length ? header : fields.map(() => ""), fields, shapes);
            if (typeof column === "string") return [{ fault: column }];
            if (column < 0 && header.length) return [{ fault: `no column is named puzzle or question (found ${header.join(", ").slice(0, 80)}), and none holds a puzzle` }];
            chosen = Math.max(column, 0);
        }
        let cells = fields[chosen];
        if (cells === undefined) {
            found.push({ fault: `line ${number}: has ${fields.length} columns, the puzzle is expected in number ${chosen + 1}` });
            continue;
        }
        if (cells.includes("\n")) cells = boardText(cells, shapes) ?? cells;
        if (!shapes.spaces && cells.length > shapes.cells) cells = shapes.whole(cells) ?? cells;
        found.push(finish(cells, number));
    }
    return found;
}

/** The lines, those together that hold a field with a whole grid in quotes. @param {string[]} lines @param {string} separator @param {Shapes} shapes */
function records(lines, separator, shapes) {
    /** @type {[number, string][]} */
    const found = [];
    for (let place = 0; place < lines.length; place++) {
        const quotes = (/** @type {string} */ line) => line.split('"').length - 1;
        let end = place;
        if (quotes(lines[place]) % 2) {
            end = lines.findIndex((line, other) => other > place && other <= place + LONGEST_GRID && quotes(line) % 2 === 1);
        }
        const joined = end > place ? lines.slice(place, end + 1).join("\n") : "";
        const whole = joined && bareFields(joined, separator).some((field) => isWhole(shapes, boardText(field, shapes) ?? ""));
        found.push([place + 1, whole ? joined : lines[place]]);
        if (whole) place = end;
    }
    return found;
}

/** Whether a first row is no header though it holds no whole puzzle: a damaged one. @param {string[]} fields @param {Shapes} shapes */
function isData(fields, shapes) {
    if (fields.some(isQuestion)) return false;
    if (shapes.spaces) return /[\d#]/.test(fields[0]);
    return fields.some((field) => 2 * field.length > shapes.cells && shapes.isCells(field))
        || (/^\d/.test(fields[0]) && !fields.some((field) => /^[A-Za-z]/.test(field)));
}

// ---------------------------------------------------------------------------------------------------- a cell a column

/** One character a field, a space where it is empty; null where a field is more. @param {string} line @param {string} separator */
function cellsOf(line, separator) {
    const matches = line.split(separator).map((field) => CELL.exec(field));
    return matches.some((match) => !match) ? null : matches.map((match) => match?.[1] ?? " ");
}

/** @param {string[][]} table @returns {[number, number]} */
function used(table) {
    const places = table.flatMap((fields) => fields.flatMap((field, place) => (field.replace(/[ '"]/g, "") ? [place] : [])));
    return [places.length ? Math.min(...places) : 0, places.length ? Math.max(...places) + 1 : 0];
}

/** Whether most lines have as many fields as a row, or a puzzle, has cells. @param {string[]} sample @param {string} separator @param {Shapes} shapes */
function isCells(sample, separator, shapes) {
    let wide = sample.map((line) => {
        const found = cellsOf(line, separator);
        if (found) return found.length;
        const fields = line.split(separator);
        const count = fields.filter((field) => CELL.test(field)).length;
        return fields.length > shapes.cells && count >= shapes.cells && fields.every((field) => field.length < shapes.cells) ? count : 0;
    });
    if (wide.length > 1 && !wide[0]) wide = wide.slice(1); // a header
    if (Math.max(0, ...wide) > shapes.columns + 1) {
        const [first, last] = used(sample.filter((line) => cellsOf(line, separator)).map((line) => line.split(separator)));
        wide = wide.map((width) => (width < shapes.cells ? Math.min(width, last - first) : width));
    }
    const good = wide.filter((width) => width === shapes.columns || width === shapes.columns + 1 || width >= shapes.cells).length;
    return good > 0 && 2 * good > wide.length;
}

/** What parts the cells of a text that has one a column; empty where it has none. @param {string} text @param {Shapes} shapes */
export function cellsSeparator(text, shapes) {
    if (shapes.spaces) return "";
    const sample = content(text).slice(0, SAMPLE).filter((line) => line.trim());
    return [...",;\t"].find((separator) => sample.join("").includes(separator) && isCells(sample, separator, shapes)) ?? "";
}

/** @param {string[]} fields */
function countsUp(fields) {
    const numbers = fields.map((field) => field.trim()).filter(Boolean);
    return numbers.length > 2 && [0, 1].some((first) => numbers.every((number, place) => number === String(first + place)));
}

/** The puzzles of a table that has a cell a column. @param {string} text @param {string} separator @param {Shapes} shapes @param {Finish} finish */
export function readCells(text, separator, shapes, finish) {
    /** @type {Entry[]} */
    const found = [];
    /** @type {Item[]} */
    let run = [];
    /** @type {string[]} */
    let header = [];
    /** @type {number[] | null} */
    let chosen = null;
    const end = () => {
        if (run.length) found.push(...resolved(run, shapes, finish));
        run = [];
    };
    for (const [place, line] of uncommented(text, shapes).entries()) {
        const fields = line.split(separator);
        if (fields.length >= shapes.cells) {
            end();
            const head = fields.filter((field) => CELL.test(field)).length < shapes.cells || countsUp(fields);
            if (!header.length && !chosen && head) {
                header = fields.map(bare);
                continue;
            }
            chosen ??= cellColumns(header, fields.length, shapes.cells);
            if (!chosen) return [{ fault: `line ${place + 1}: has ${fields.length} columns, expected ${shapes.cells} with a cell each, or a header that numbers them` }];
            const cells = chosen.map((column) => CELL.exec(fields[column] ?? "?!"));
            found.push(cells.some((match) => !match) ? { fault: `line ${place + 1}: expected a cell in each column` }
                : finish(cells.map((match) => match?.[1] ?? " ").join(""), place + 1));
            continue;
        }
        const item = cellItem(place + 1, line, separator, shapes);
        if (item.kind === "words") end();
        else {
            if (item.kind === "blank" && run.length === shapes.rows && run.every((each) => each.kind === "row")) end();
            if (item.kind !== "blank" || run.length) run.push(item);
        }
    }
    end();
    return found;
}

/** @param {number} number @param {string} line @param {string} separator @param {Shapes} shapes @returns {Item} */
function cellItem(number, line, separator, shapes) {
    const is = (/** @type {string} */ kind, text = "") => ({ number, line, kind, text });
    if (!line.includes(separator)) return is(line.trim() ? "words" : "blank");
    const cells = cellsOf(line, separator);
    if (!cells) {
        const fields = line.split(separator);
        const strange = fields.filter((field) => !CELL.test(field)).length;
        const odd = [shapes.columns, shapes.columns + 1].includes(fields.length) && 3 * strange < fields.length;
        return is(odd ? "odd" : "words", fields.map((field) => field.trim() || " ").join(""));
    }
    const text = cells.join("");
    const letters = text.trim().toUpperCase();
    if (letters.length > 2 && "ABCDEFGHIJKLMNOPQRSTUVWXYZ".startsWith(letters)) return is("words");
    if (cells.length === shapes.columns && shapes.isCells(text.replaceAll(" ", ""))) return is(text.trim() ? "row" : "row or space", text);
    return is("odd", text);
}

/** The grids of a run, without columns beside them that are empty in each row. @param {Item[]} run @param {Shapes} shapes @param {Finish} finish */
function resolved(run, shapes, finish) {
    const wide = run.filter((item) => ["row", "odd", "row or space"].includes(item.kind));
    const width = Math.max(0, ...wide.map((item) => item.text.length));
    const plain = () => resolve(run, shapes, finish).entries;
    if (width <= shapes.columns || !wide.every((item) => item.text.length === width)) return plain();
    const [first, last] = used(wide.map((item) => [...item.text]));
    const from = Math.max(last - shapes.columns, 0);
    const to = Math.min(first, width - shapes.columns);
    if (to < from || (width === shapes.columns + 1 && countsUp(wide.map((item) => item.text[0])))) return plain();
    if (to > from) return [{ fault: `line ${wide[0].number}: the grid may begin in column ${from + 1} or ${from + 2}, since the others are empty; write 0 for blanks` }];
    const cut = run.map((item) => {
        const text = wide.includes(item) ? item.text.slice(from, from + shapes.columns) : item.text;
        return wide.includes(item) ? { ...item, text, kind: text.trim() ? "row" : "row or space" } : item;
    });
    return resolve(cut, shapes, finish).entries;
}

/** The columns that hold cells, of a table that has a puzzle a line. @param {string[]} header @param {number} count @param {number} cells */
function cellColumns(header, count, cells) {
    if (count === cells) return [...Array(cells).keys()];
    /** @type {Map<string, number[]>} */
    const groups = new Map();
    header.slice(0, count).forEach((name, place) => {
        const match = /^(\D*?)\d+(?:\D*\d+)?$/.exec(name);
        if (match) groups.set(match[1].toLowerCase(), [...(groups.get(match[1].toLowerCase()) ?? []), place]);
    });
    const fit = [...groups].filter(([prefix, places]) => places.length === cells && !isAnswer(prefix));
    return fit.length === 1 ? fit[0][1] : null;
}
