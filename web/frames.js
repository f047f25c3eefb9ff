// Rows in which spaces stand for blanks, where a frame or the width of the lines tells the columns.

/**
 * @typedef {import("./grids.js").Item} Item
 * @typedef {import("./grids.js").Shapes} Shapes
 * @typedef {[number, number]} Span from, to
 */

const VERTICAL = "│┃║╎╏┆┇┊┋▏▕❘｜";
const HORIZONTAL = "─━═╌╍┄┅┈┉▔▁―—–";

/** @param {string} line with box-drawing characters, each for one of ASCII */
export function ascii(line) {
    return line.replace(/[\u2500-\u257f\u2581\u2594\u258f\u2595\u2758\uff5c\u2013-\u2015\u00a0\u2007]/g, (c) =>
        VERTICAL.includes(c) ? "|" : HORIZONTAL.includes(c) ? "=" : c === "\u00a0" || c === "\u2007" ? " " : "+");
}

/**
 * A run with its rows that have spaces for blanks as full rows; as it is where their columns cannot be told.
 * @param {Item[]} items
 * @param {Shapes} shapes
 * @returns {Item[]}
 */
export function withSpaces(items, shapes) {
    const rows = items.filter((item) => ["row", "row with spaces", "row or space", "odd", "row or rule"].includes(item.kind));
    if (rows.some((item) => item.kind === "row with spaces")) return framed(items, rows, shapes) ?? items;
    if (rows.some((item) => item.kind === "odd")) return fixedWidth(items, shapes) ?? items;
    return items;
}

/** Rows of exactly as many characters as cells, without a frame. @param {Item[]} items @param {Shapes} shapes */
function fixedWidth(items, shapes) {
    const made = [];
    for (const item of items) {
        const row = ["row", "odd", "row or rule"].includes(item.kind) || (item.kind === "blank" && item.line.length === shapes.columns);
        if (row && (item.line.length !== shapes.columns || [...item.line].some((c) => c !== " " && !shapes.digits.has(c)))) return null;
        made.push(row ? { ...item, kind: "row", text: item.line } : item);
    }
    return made;
}

/** @param {string} line @returns {Span[]} */
function barsOf(line) {
    return [...line.matchAll(/[|:!¦]+/g)].map((match) => [match.index, match.index + match[0].length]);
}

/** @param {Item[]} items @param {Item[]} every @param {Shapes} shapes @returns {Item[] | null} */
function framed(items, every, shapes) {
    const drawn = (/** @type {Item} */ item) => ascii(item.line).trimEnd();
    const first = /** @type {Item} */ (every.find((item) => item.kind === "row with spaces"));
    const bars = barsOf(drawn(first));
    const same = (/** @type {Item} */ item) => String(barsOf(drawn(item))) === String(bars);
    // A line of blanks or dashes whose bars are elsewhere is a part of the frame, or an empty header.
    const rows = every.filter((item) => !["row or space", "row or rule"].includes(item.kind) || same(item));
    const kept = items.map((item) => (every.includes(item) && !rows.includes(item) ? { ...item, kind: "rule", text: "" } : item));
    if (rows.some((item) => drawn(item).includes("\t") || !same(item))) return null;
    const width = Math.max(...rows.map((item) => drawn(item).length));
    const lines = rows.map((item) => drawn(item).padEnd(width));
    for (const spans of layouts(bars, width, lines, shapes.columns)) {
        const texts = cellsOf(lines, spans, shapes.columns / spans.length);
        if (!texts) continue;
        return kept.map((item) => {
            const place = rows.indexOf(item);
            // A row of blanks or a part of the frame: its neighbours decide.
            return place < 0 || ["row or space", "row or rule"].includes(item.kind) ? item : { ...item, kind: "row", text: texts[place] };
        });
    }
    return null;
}

/**
 * The parts of a line that hold cells: between outer bars, or from end to end where there are inner bars alone.
 * @param {Span[]} bars @param {number} width @param {string[]} lines @param {number} columns
 * @returns {Span[][]}
 */
function layouts(bars, width, lines, columns) {
    const edges = [0, ...bars.flat(), width];
    /** @type {Span[]} */
    const every = [];
    for (let place = 0; place < edges.length; place += 2) every.push([edges[place], edges[place + 1]]);
    const found = [];
    if (bars.length > 1 && columns % (bars.length - 1) === 0) {
        const [left, right] = [every[0], /** @type {Span} */ (every.at(-1))].map(([from, to]) => lines.map((line) => line.slice(from, to).trim()));
        const labels = right.every((text) => !text) && new Set(left).size === left.length && left.every((text) => text.length === 1);
        if ([...left, ...right].every((text) => !text) || labels) found.push(every.slice(1, -1));
    }
    if (columns % every.length === 0 && every[0][1] > every[0][0]) found.push(every);
    return found;
}

/**
 * The cells of each line; null where they could be told in two ways, or not at all: equally far apart in every part,
 * with equal margins up to one space.
 * @param {string[]} lines @param {Span[]} spans @param {number} cells of a part
 * @returns {string[] | null}
 */
function cellsOf(lines, spans, cells) {
    const widest = Math.max(...spans.map(([from, to]) => to - from));
    const taken = (/** @type {number[][]} */ offsets) => lines.map((line) =>
        spans.map(([from], part) => offsets[part].map((offset) => line[from + offset] ?? " ").join("")).join(""));
    /** @type {Map<string, string[]>} */
    const readings = new Map();
    for (let stride = 1; stride <= widest; stride++) {
        const parts = spans.map(([from, to]) => {
            const used = new Set(lines.flatMap((line) => [...line.slice(from, to)].flatMap((c, offset) => (c === " " ? [] : [offset]))));
            const possible = [];
            for (let first = 0; first < to - from; first++) {
                const offsets = [...Array(cells).keys()].map((cell) => first + stride * cell);
                const margin = to - from - 1 - offsets[cells - 1];
                if (margin >= 0 && Math.abs(first - margin) <= 1 && [...used].every((offset) => offsets.includes(offset))) possible.push(offsets);
            }
            return possible;
        });
        if (!parts.every((possible) => possible.length)) continue;
        const differ = spans.some(([from], part) => new Set(parts[part].map((offsets) =>
            lines.map((line) => offsets.map((offset) => line[from + offset] ?? " ").join("")).join("\n"))).size > 1);
        if (differ) return null;
        const texts = taken(parts.map((possible) => possible[0]));
        readings.set(texts.join("\n"), texts);
    }
    return readings.size === 1 ? [...readings.values()][0] : null;
}
