// Puzzles one a line, and grids in any frame, in any mixture, between words: as `trm-deploy run` reads them.
//
// A line with a whole puzzle is taken at once. Rows are collected until words, a puzzle or the end ends their run; a run
// is looked at as a whole, because a row that is missing shows at its end alone.

import { ascii, withSpaces } from "./frames.js";

/**
 * @typedef {import("./board.js").Task} Task
 * @typedef {import("./read.js").Entry} Entry
 * @typedef {{number: number, line: string, kind: string, text: string}} Item
 */

export const BLANKS = ".0_-*Xx? ·•∙⋅□";
const RULE = /^[-=_+|.:'`´,*~^o/\\!¦\s]*$/;
const RULED = /--|==|__|\*\*|~~|\^\^|\+|=|-[.:|'*`]|[.:|'*`]-/;
const PIECES = /[^\s,;|:=/\\"'`<>()[\]{}&]+/g;
const JOINTS = /[\s|/\\:,;]+/;
const SCIENTIFIC = /^[+-]?\d(?:[.,]\d*)?[eE][+-]?\d{1,3}$/;
const HEADING = /^\W*(?:the\s+|its\s+)?(solutions?|answers?|solved|state|current(?:\s+state)?|pencil\s*marks?|candidates)[\s\d:.#()=*\-\][]*$/i;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
// Kinds of lines. A row has as many cells as the grid is wide; an odd line might be a row with a slip in it.
const [BLANK, RULED_LINE, ROW, EITHER, BARRED, OPEN, ODD, MARKS, CUT, WORDS] =
    ["blank", "rule", "row", "row or rule", "row with spaces", "row or space", "odd", "candidates", "cut", "words"];
const ROWS_ALIKE = [ROW, EITHER, OPEN, BARRED, ODD];

/** What a task's lines look like. */
export class Shapes {
    /** @param {Task} task */
    constructor(task) {
        this.rows = task.rows;
        this.columns = task.columns;
        this.cells = task.cells;
        this.spaces = task.kind === "maze";
        this.digits = new Set(this.spaces ? "" : "123456789".slice(0, task.columns));
        this.symbols = new Set([...this.digits, ...BLANKS.replace(" ", "")]);
    }

    /** Whether text holds cells alone, in any blank. @param {string} text */
    isCells(text) {
        return [...text].every((c) => this.symbols.has(c));
    }

    /** Whether text is a puzzle: as many cells as it has, with one blank, and not a rule. @param {string} text */
    isWhole(text) {
        if (text.length !== this.cells || !this.isCells(text)) return false;
        const kinds = new Set(text);
        return [...kinds].filter((c) => !this.digits.has(c)).length <= 1 && !("-_*xX?".includes(text[0]) && kinds.size === 1);
    }

    /** Whether text is digits alone. @param {string} text */
    isSolved(text) {
        return [...text].every((c) => this.digits.has(c));
    }

    /** The kind of a line that holds no whole puzzle by itself. @param {number} number @param {string} line @returns {Item} */
    item(number, line) {
        const is = (/** @type {string} */ kind, text = "") => ({ number, line, kind, text });
        const bare = line.trim();
        const { columns } = this;
        if (bare.length === columns && this.isCells(bare)) {
            return is(new Set(bare).size === 1 && "-_*".includes(bare[0]) ? EITHER : ROW, bare);
        }
        if (!bare) return is(BLANK);
        if (",;".includes(bare.at(-1) ?? "") && bare.length === columns + 1 && this.isCells(bare.slice(0, -1))) return is(ROW, bare.slice(0, -1));
        if (SCIENTIFIC.test(bare)) return is(CUT);
        let drawn = ascii(line);
        if (bare.endsWith("|.") && bare.split("|").length === columns + 2) drawn = drawn.trimEnd().slice(0, -1); // LaTeX
        const tight = drawn.replace(/[|:!¦\s]/g, "");
        if (RULE.test(drawn)) return this.#rule(is, drawn, tight);
        const bars = /[|:!¦]/.test(drawn);
        const strange = [...tight].filter((c) => !this.symbols.has(c)).length;
        if (!strange) {
            if (tight.length === columns) return is(ROW, tight);
            if (tight.length > columns && this.#hasCandidates(drawn)) return is(MARKS);
            if (bars && tight.length < columns) return { ...is(BARRED, tight), line: line.trimEnd().endsWith("|.") ? drawn : line };
            return is(2 * columns < tight.length && !bars ? CUT : ODD, tight);
        }
        if (this.#hasCandidates(drawn)) return is(MARKS);
        const like = tight.length === columns && 3 * strange <= columns && !bare.includes(",");
        const many = drawn.split(/[|:!¦]/).length > 2;
        if (like || (strange <= 2 && (many || tight.length === columns + 1) && tight.length > strange)) return is(ODD, tight);
        return is((line.match(PIECES) ?? []).some((piece) => this.#couldBeCut(piece)) ? CUT : WORDS);
    }

    /** @param {(kind: string, text?: string) => Item} is @param {string} drawn @param {string} tight */
    #rule(is, drawn, tight) {
        const kinds = new Set(tight);
        if (!tight) return is(OPEN);
        if ([...kinds].every((c) => ".',".includes(c))) {
            return is(tight === ".".repeat(this.columns) ? ROW : kinds.size === 1 && kinds.has(".") ? ODD : RULED_LINE, tight);
        }
        if (kinds.size === 1 && tight.length === this.columns && "-_*".includes(tight[0])) {
            const bars = /[|:!¦]/.test(drawn);
            const spaced = drawn.trim().includes(" ") || bars;
            return is(spaced && !(tight[0] === "_" && !bars) && !RULED.test(drawn) ? ROW : EITHER, tight);
        }
        if (RULED.test(drawn)) return is(RULED_LINE);
        return this.isCells(tight) ? is(tight.length === this.columns ? ROW : ODD, tight) : is(RULED_LINE);
    }

    /** @param {string} drawn */
    #hasCandidates(drawn) {
        const words = drawn.split(JOINTS).filter(Boolean);
        return words.length === this.columns && !words.every((word) => word.length === this.columns)
            && words.some((word) => word.length > 1) && words.every((word) => this.isCells(word.replace(/^[+*\-()[\]{}]+|[+*\-()[\]{}]+$/g, "")));
    }

    /** @param {string} piece */
    #couldBeCut(piece) {
        const strange = [...piece].filter((c) => !this.symbols.has(c)).length;
        return this.cells < 2 * piece.length && piece.length <= 2 * this.cells && 10 * strange <= piece.length
            && [...piece].some((c) => c === "0" || this.digits.has(c));
    }

    /** The one whole puzzle that a line holds beside remarks, or null. @param {string} line @returns {string | null} */
    whole(line) {
        if (Math.max(...[...",;\t"].map((c) => line.split(c).length - 1)) >= this.cells) return this.#inGroups(line);
        /** @type {Set<string>} */
        let found = new Set();
        for (const piece of line.match(PIECES) ?? []) {
            const fits = [piece, piece.replace(/\.+$/, "")].find((each) => this.isWhole(each) && [...each].some((c) => this.digits.has(c)));
            if (fits) found.add(fits);
        }
        if (found.size > 1) found = new Set([...found].filter((piece) => !this.isSolved(piece))); // a puzzle and its solution
        if (found.size === 1) return [...found][0];
        return found.size ? null : this.#inGroups(line);
    }

    /** @param {string} line */
    #inGroups(line) {
        if (line.length < this.cells) return null;
        if (line.length === this.cells && line.includes(" ") && line.trim() && [...line].every((c) => c === " " || this.digits.has(c))) return line;
        const parts = ascii(line).trim().replace(/^[|/\\:,;"'[\](){}]+|[|/\\:,;"'[\](){}]+$/g, "").split(JOINTS).filter(Boolean);
        const text = parts.join("");
        const same = new Set(parts.map((part) => part.length)).size === 1;
        return this.isWhole(text) && same && this.columns % parts[0].length === 0 ? text : null;
    }
}

/**
 * Lines without comments, and without quotes of mail and Excel's line about the separator.
 * @param {string} text
 * @returns {string[]}
 */
export function content(text) {
    return text.split("\n").map((line, number) => {
        if (number === 0 && /^"?sep=."?$/i.test(line)) return "";
        const unquoted = line[0] === ">" ? line.replace(/^[> ]+/, (quote) => " ".repeat(quote.length)) : line;
        return unquoted.split("#")[0];
    });
}

/** Reads lines and grids. */
class Reader {
    /** @param {Shapes} shapes @param {(text: string, line: number) => Entry} finish @param {(name: string) => boolean} isQuestion */
    constructor(shapes, finish, isQuestion) {
        this.shapes = shapes;
        this.finish = finish;
        this.isQuestion = isQuestion;
        /** @type {Item[]} */
        this.run = [];
        /** @type {[number, string][]} */
        this.remarks = [];
        this.afterGrid = false; // whether the last puzzle was a grid
        this.any = false; // whether there was a puzzle, or something that should be one
        this.skipping = ""; // the word of a heading under which there is no question
        /** @type {Entry[]} */
        this.found = [];
    }

    /** @param {string[]} lines */
    read(lines) {
        lines.forEach((line, place) => this.#line(place + 1, line));
        this.#endRun();
        this.#endRemarks();
        return this.found;
    }

    /** @param {number} number @param {string} line */
    #line(number, line) {
        const { shapes } = this;
        const bare = line.trim();
        if (shapes.isWhole(bare)) this.#whole(number, bare);
        else if (line.length < shapes.cells) {
            if (!bare && !this.run.length) return;
            const item = shapes.item(number, line);
            if (ROWS_ALIKE.includes(item.kind)) this.run.push(item);
            else this.#sorted(item, bare);
        } else this.#long(number, line, bare);
    }

    /** @param {number} number @param {string} text */
    #whole(number, text) {
        this.#endRun();
        this.#endRemarks();
        if (this.#skips(text)) return;
        [this.afterGrid, this.any] = [false, true];
        this.found.push(this.finish(text, number));
    }

    /** @param {number} number @param {string} line @param {string} bare */
    #long(number, line, bare) {
        const { shapes } = this;
        if (bare.length === shapes.cells && new Set(bare).size === 1 && "-_*xX?".includes(bare[0]) && !this.run.length) {
            this.any = true;
            this.found.push({ text: bare, fault: `line ${number}: ${bare.length} times '${bare[0]}' is either a puzzle without givens or a rule; write . for blanks` });
            return;
        }
        const item = shapes.item(number, line);
        const whole = shapes.whole(line);
        if (whole !== null && item.kind !== ROW && item.kind !== RULED_LINE) {
            this.#whole(number, whole);
            return;
        }
        const cells = [...bare].filter((c) => shapes.symbols.has(c)).length;
        if (bare.length === shapes.cells && ![MARKS, ROW, RULED_LINE].includes(item.kind) && 2 * cells > bare.length) item.kind = CUT;
        this.#sorted(item, bare);
    }

    /** @param {Item} item @param {string} bare */
    #sorted(item, bare) {
        if (item.kind === WORDS) this.#words(item, bare);
        else if (item.kind === CUT && !this.skipping) {
            this.#endRun();
            this.#endRemarks();
            this.any = true;
            this.found.push(this.finish(bare, item.number));
        } else {
            if (item.kind === BLANK || (item.kind === RULED_LINE && this.run.at(-1)?.kind === RULED_LINE)) this.#endWholeRun();
            if (item.kind !== BLANK || this.run.length) this.run.push(item);
        }
    }

    /** One grid by itself, or several, are not joined to what follows. */
    #endWholeRun() {
        const { run, shapes } = this;
        const of = (/** @type {string[]} */ ...kinds) => run.filter((item) => kinds.includes(item.kind)).length;
        const rows = of(ROW, BARRED);
        if (!rows || of(ROW, BARRED, OPEN, RULED_LINE) !== run.length) return;
        if (!of(BARRED) && !of(OPEN) && rows % shapes.rows === 0) this.#endRun();
        else if (rows + of(OPEN) === shapes.rows) {
            const found = resolve(run, shapes, this.finish);
            if (found.grids && !found.entries.some((entry) => entry.fault)) this.#give(found);
        }
    }

    /** @param {Item} item @param {string} bare */
    #words(item, bare) {
        this.#endRun();
        const heading = HEADING.exec(bare);
        this.skipping = heading && this.any ? heading[1].toLowerCase() : "";
        if (this.afterGrid || this.skipping || this.isQuestion(bare.replace(/:+$/, ""))) return;
        this.remarks.push([item.number, bare]);
    }

    /** Whether a puzzle belongs to a heading such as Solution or State. @param {string} text */
    #skips(text) {
        if (!this.skipping) return false;
        if (!this.shapes.isSolved(text) && !/^(state|current|pencil|candidates)/.test(this.skipping)) this.skipping = "";
        return Boolean(this.skipping);
    }

    #endRun() {
        if (this.run.length) this.#give(resolve(this.run, this.shapes, this.finish, this.afterGrid));
    }

    /** @param {Found} found */
    #give(found) {
        this.run = [];
        const kept = found.entries.filter((entry) => !this.#skips(entry.text ?? ""));
        if (kept.length || found.grids) {
            this.any = this.afterGrid = true;
            this.remarks = []; // words above it were its title
        }
        this.found.push(...kept);
    }

    /** Words that turned out to be no titles: lines in which a puzzle is expected. */
    #endRemarks() {
        for (const [number, line] of this.remarks) this.found.push(this.finish(this.shapes.whole(line) ?? line, number));
        this.remarks = [];
    }
}

/** @typedef {{entries: Entry[], grids: boolean}} Found */

/**
 * The grids of a run.
 * @param {Item[]} run @param {Shapes} shapes @param {(text: string, line: number) => Entry} finish
 * @returns {Found}
 */
export function resolve(run, shapes, finish, afterGrid = false) {
    const fault = (/** @type {Item} */ item, /** @type {string} */ message) => ({
        entries: [{ text: run.map((each) => each.text || each.line.trim()).join(""), fault: `line ${item.number}: ${message}` }], grids: false,
    });
    if (!run.some((item) => [...ROWS_ALIKE, MARKS].includes(item.kind))) return { entries: [], grids: false };
    const marks = run.findIndex((item) => item.kind === MARKS);
    if (marks >= 0) {
        const rows = run.filter((item) => item.kind === ROW || item.kind === MARKS);
        const count = rows.length - shapes.rows;
        if (count > 0 && rows.length % shapes.rows === 0 && rows.slice(0, count).every((item) => item.kind !== MARKS)) {
            return resolve(run.slice(0, run.indexOf(rows[count])), shapes, finish);
        }
        if (afterGrid && rows.length <= shapes.rows) return { entries: [], grids: false };
        return fault(run[marks], "is a grid of candidates (cells hold several digits), expected the givens alone");
    }
    let items = withSpaces(run, shapes);
    items = withoutLabels(items, shapes);
    const settled = settle(items, shapes);
    if (!settled) return fault(run[0], "lines of one character alone are either rows of blanks or rules: both would give puzzles; write . for a blank");
    return grids(settled, shapes, finish);
}

/** Rows without their numbers or letters, and without the numbers of the columns. @param {Item[]} items @param {Shapes} shapes */
function withoutLabels(items, shapes) {
    const { columns, rows } = shapes;
    const numbers = ["0123456789".slice(0, columns), "1234567890".slice(0, columns)];
    const like = items.filter((item) => [ROW, EITHER, ODD].includes(item.kind));
    const labelled = like.filter((item) => item.text.length === columns + 1 && !numbers.includes(item.text.trimStart()));
    if (!labelled.length || labelled.length % rows) return items;
    const labels = labelled.map((item) => item.text[0]).join("");
    const sequences = ["0123456789".slice(0, rows), "123456789".slice(0, rows), LETTERS.slice(0, rows), LETTERS.slice(0, rows).toLowerCase()];
    if (!sequences.some((each) => each.repeat(labelled.length / rows) === labels)) return items;
    if (!labelled.every((item) => shapes.isCells(item.text.slice(1).replaceAll(" ", "")))) return items;
    return items.filter((item) => !like.includes(item) || !numbers.includes(item.text.trim()))
        .map((item) => (labelled.includes(item) ? { ...item, kind: ROW, text: item.text.slice(1) } : item));
}

/** Each line of one character taken for a row or a rule; null where it could be both. @param {Item[]} items @param {Shapes} shapes */
function settle(items, shapes) {
    const doubtful = items.filter((item) => item.kind === EITHER || item.kind === OPEN);
    if (!doubtful.length) return items;
    const as = (/** @type {string} */ kind) => items.map((item) => {
        if (item.kind === EITHER) return { ...item, kind };
        if (item.kind !== OPEN) return item;
        return kind === ROW ? { ...item, kind, text: " ".repeat(shapes.columns) } : { ...item, kind, text: "" };
    });
    const [asRows, asRules] = [as(ROW), as(RULED_LINE)];
    const whole = [asRows, asRules].map((taken) => {
        const units = unitsOf(taken, shapes);
        return units.some((unit) => unit.whole) && units.every((unit, place) => unit.whole || (unit.odd && isRemark(units, place)));
    });
    const rows = items.filter((item) => item.kind === ROW);
    const blanks = new Set(rows.flatMap((item) => [...item.text]).filter((c) => !shapes.digits.has(c)));
    const symbols = new Set(doubtful.map((item) => (item.kind === OPEN ? " " : item.text[0])));
    const common = [...symbols].filter((c) => blanks.has(c)).length;
    if (!rows.length && !items.some((item) => item.kind === ODD || item.kind === BARRED)) {
        return doubtful.length % shapes.rows || doubtful.some((item) => item.kind !== EITHER) ? asRules : null;
    }
    if (blanks.size && !common) return whole[1] || !whole[0] ? asRules : asRows;
    if (whole[0] !== whole[1]) return whole[0] ? asRows : asRules;
    if (!whole[0] && common === symbols.size) return asRows;
    return whole[0] ? null : asRules;
}

/** @typedef {{rows: Item[], odd: Item | null, apart: boolean, whole: boolean}} Unit rows that nothing parts, or one line that is no row */

/** @param {Item[]} items @param {Shapes} shapes @returns {Unit[]} */
function unitsOf(items, shapes) {
    /** @type {Unit[]} */
    const units = [];
    let [apart, ruled] = [true, false];
    for (const item of items) {
        if (item.kind === BLANK || (item.kind === RULED_LINE && ruled)) apart = true;
        else if (item.kind === ROW) {
            if (apart || !units.length || units.at(-1)?.odd) units.push({ rows: [], odd: null, apart, whole: false });
            units.at(-1)?.rows.push(item);
            apart = false;
        } else if ([ODD, BARRED, CUT].includes(item.kind)) {
            units.push({ rows: [], odd: item, apart, whole: false });
            apart = false;
        }
        ruled = item.kind === RULED_LINE || (item.kind === BLANK && ruled);
    }
    for (let start = 0; start < units.length; ) {
        const size = units[start].rows.length;
        let end = start + 1;
        if (size && size % shapes.rows === 0) units[start].whole = true;
        else if (size) {
            while (end < units.length && units[end].rows.length === size && units[end].apart) end += 1;
            const alone = end === units.length || !units[end].odd || units[end].apart;
            if (shapes.rows % size === 0 && ((end - start) * size) % shapes.rows === 0 && alone) {
                units.slice(start, end).forEach((unit) => (unit.whole = true));
            }
        }
        start = end;
    }
    return units;
}

/** Whether an odd line is directly above or below whole grids, and not inside of one. @param {Unit[]} units @param {number} place */
function isRemark(units, place) {
    if (units[place].odd?.kind === CUT) return false;
    let above = units[place].apart ? -1 : place - 1;
    while (above >= 0 && units[above].odd) above = units[above].apart ? -1 : above - 1;
    let below = place + 1;
    while (below < units.length && units[below].odd && !units[below].apart) below += 1;
    const beside = above >= 0 ? [units[above]] : [];
    if (below < units.length && !units[below].apart) beside.push(units[below]);
    return beside.length > 0 && beside.every((unit) => unit.whole);
}

/** @param {Item[]} items @param {Shapes} shapes @param {(text: string, line: number) => Entry} finish @returns {Found} */
function grids(items, shapes, finish) {
    const units = unitsOf(items, shapes);
    /** @type {Entry[]} */
    const entries = [];
    /** @type {Item[]} */
    let waiting = [];
    let whole = false;
    /** @type {Unit[]} */
    let faulty = [];
    const complain = () => {
        if (faulty.length) entries.push(complaint(faulty, shapes, finish));
        faulty = [];
    };
    units.forEach((unit, place) => {
        if (unit.odd && isRemark(units, place)) return;
        if (!unit.whole) {
            faulty.push(unit);
            return;
        }
        complain();
        waiting.push(...unit.rows);
        if (waiting.length % shapes.rows) return;
        for (let start = 0; start < waiting.length; start += shapes.rows) {
            const part = waiting.slice(start, start + shapes.rows);
            entries.push(finish(part.map((item) => item.text).join(""), part[0].number));
            whole = true;
        }
        waiting = [];
    });
    complain();
    return { entries, grids: whole };
}

/** @param {Unit[]} units @param {Shapes} shapes @param {(text: string, line: number) => Entry} finish @returns {Entry} */
function complaint(units, shapes, finish) {
    const items = units.flatMap((unit) => (unit.odd ? [unit.odd] : unit.rows));
    const at = `line ${items[0].number}`;
    const text = items.map((item) => item.text || item.line.trim()).join("");
    const sides = new Set(items.map((item) => item.text.length));
    if (sides.size === 1 && sides.has(items.length) && items.length !== shapes.rows) return finish(text, items[0].number);
    const heads = ["0123456789".slice(0, shapes.columns), "1234567890".slice(0, shapes.columns)];
    if (items.length === shapes.rows + 1 && heads.includes(items[0].text) && items.every((item) => item.kind === ROW)) {
        const [under, above] = [items.slice(1), items.slice(0, -1)].map((part) => finish(part.map((item) => item.text).join(""), part[0].number));
        if (!under.fault && above.fault) return under;
    }
    const odd = items.find((item) => [ODD, BARRED, CUT].includes(item.kind));
    if (odd && items.length === 1) return finish(odd.line.trim(), odd.number);
    if (odd) return { text, fault: `line ${odd.number}: row ${(items.indexOf(odd) % shapes.rows) + 1} of a grid has ${odd.text.length} cells, expected ${shapes.columns}` };
    if (items.length < shapes.rows) return { text, fault: `${at}: the grid ends after ${items.length} rows, expected ${shapes.rows}` };
    return { text, fault: `${at}: ${items.length} rows, expected ${shapes.rows} a grid: which of them belong together cannot be told; put a blank line between grids` };
}

/**
 * Puzzles and complaints of lines and grids.
 * @param {string[]} lines @param {Shapes} shapes @param {(text: string, line: number) => Entry} finish
 * @param {(name: string) => boolean} isQuestion
 */
export function readGrids(lines, shapes, finish, isQuestion) {
    return new Reader(shapes, finish, isQuestion).read(lines);
}
