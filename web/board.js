// Tasks as a page knows them, their symmetric forms, and the board on which a puzzle and an answer are drawn.

/**
 * @typedef {{name: string, kind: "sudoku" | "maze", rows: number, columns: number, boxRows: number,
 *     boxColumns: number, cells: number, symbols: string}} Task
 *     `symbols` is the character of each token id.
 * @typedef {{cells: number[], symbols: number[]}} Form
 */

const BOXES = { 4: [2, 2], 6: [2, 3], 9: [3, 3] };

/**
 * What a task's name says; throws where no task has that name.
 * @param {string} name
 * @returns {Task}
 */
export function taskOf(name) {
    const match = /^(sudoku|maze)-(\d+)x(\d+)$/.exec(name);
    const rows = match ? Number(match[2]) : 0;
    const columns = match ? Number(match[3]) : 0;
    if (match?.[1] === "sudoku" && rows === columns && rows in BOXES) {
        const [boxRows, boxColumns] = BOXES[/** @type {4 | 6 | 9} */ (rows)];
        const symbols = "00" + "123456789".slice(0, rows); // pad and blank look alike
        return { name, kind: "sudoku", rows, columns, boxRows, boxColumns, cells: rows * columns, symbols };
    }
    if (match?.[1] === "maze" && Math.min(rows, columns) >= 2 && Math.max(rows, columns) <= 64) {
        return { name, kind: "maze", rows, columns, boxRows: 0, boxColumns: 0, cells: rows * columns, symbols: "?# SGo" };
    }
    throw new Error(`the task ${JSON.stringify(String(name).slice(0, 60))} is unknown`);
}

/**
 * Token ids of a one-line text.
 * @param {Task} task
 * @param {string} text
 */
export function toTokens(task, text) {
    return Int32Array.from(text, (character) => Math.max(task.symbols.lastIndexOf(character), 0));
}

/**
 * The one-line text of token ids.
 * @param {Task} task
 * @param {ArrayLike<number>} tokens
 */
export function toText(task, tokens) {
    return Array.from(tokens, (token) => task.symbols[token] ?? task.symbols[0]).join("");
}

/**
 * A puzzle or an answer in a symmetric form.
 * @param {Form} form
 * @param {ArrayLike<number>} tokens
 */
export function applyForm(form, tokens) {
    return Int32Array.from(form.cells, (cell) => form.symbols[tokens[cell]]);
}

/**
 * Back from a symmetric form.
 * @param {Form} form
 * @param {ArrayLike<number>} tokens
 */
export function invertForm(form, tokens) {
    const own = new Int32Array(form.cells.length);
    const symbols = new Int32Array(form.symbols.length);
    form.symbols.forEach((symbol, token) => (symbols[symbol] = token));
    form.cells.forEach((cell, place) => (own[cell] = symbols[tokens[place]]));
    return own;
}

/**
 * An element with classes, attributes and children.
 * @param {string} name
 * @param {string} [className]
 * @param {Record<string, string | number>} [attributes]
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function make(name, className = "", attributes = {}, ...children) {
    const made = document.createElement(name);
    if (className) made.className = className;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
    made.append(...children);
    return made;
}

/** A puzzle with what a model says of it, one element a cell. */
export class Board {
    /**
     * @param {HTMLElement} host
     * @param {Task} task
     * @param {{label?: string, small?: boolean}} [options] small: a picture without numbers for each cell
     */
    constructor(host, task, { label = "Puzzle", small = false } = {}) {
        this.task = task;
        this.small = small;
        /** @type {Record<string, string | number>} */
        const role = small ? { role: "img" } : { role: "grid", "aria-rowcount": task.rows, "aria-colcount": task.columns };
        this.element = make("div", `board ${task.kind}${small ? " small" : ""}`, { ...role, "aria-label": label });
        this.element.style.setProperty("--columns", String(task.columns));
        /** @type {HTMLElement[]} */
        this.cells = [];
        for (let row = 0; row < task.rows; row++) {
            const line = make("div", "row", small ? {} : { role: "row" });
            for (let column = 0; column < task.columns; column++) {
                const cell = make("div", "cell", small ? {} : { role: "gridcell" });
                if (task.kind === "sudoku") {
                    if (row && row % task.boxRows === 0) cell.classList.add("band");
                    if (column && column % task.boxColumns === 0) cell.classList.add("stack");
                }
                cell.append(make("span", "symbol"), make("span", "bar"));
                this.cells.push(cell);
                line.append(cell);
            }
            this.element.append(line);
        }
        host.append(this.element);
    }

    /**
     * Draw a puzzle, and an answer where there is one.
     * @param {string} puzzle
     * @param {{answer?: string, confidence?: ArrayLike<number>, before?: string, faulty?: Set<number>}} [found]
     *     before: the answer one step earlier; faulty: cells that break a rule
     */
    show(puzzle, { answer, confidence, before, faulty } = {}) {
        const sudoku = this.task.kind === "sudoku";
        this.cells.forEach((cell, place) => {
            const given = puzzle[place];
            const shown = answer ? answer[place] : given;
            const blank = sudoku ? given === "0" : given === " ";
            const byModel = Boolean(answer) && (blank ? shown !== given : shown !== given);
            const wrong = Boolean(answer) && !blank && shown !== given;
            const sure = answer && confidence ? confidence[place] : 1;
            const changed = Boolean(answer) && before !== undefined && before[place] !== shown;
            const asked = Boolean(answer) && blank;
            cell.className = `cell ${["band", "stack", "selected"].filter((name) => cell.classList.contains(name)).join(" ")}`;
            if (sudoku) cell.classList.add(!blank ? "given" : byModel ? "model" : "blank");
            else cell.classList.add(MAZE_CLASSES[shown] ?? "strange");
            cell.classList.toggle("wrong", wrong || Boolean(faulty?.has(place)));
            cell.classList.toggle("changed", changed);
            cell.classList.toggle("asked", asked);
            cell.style.setProperty("--sure", sure.toFixed(3));
            const text = sudoku ? (shown === "0" ? "" : shown) : shown === "S" || shown === "G" ? shown : "";
            const symbol = /** @type {HTMLElement} */ (cell.firstElementChild);
            if (symbol.textContent !== text) symbol.textContent = text;
            if (!this.small) cell.setAttribute("aria-label", this.#label(place, given, shown, sure, byModel, changed));
        });
    }

    /**
     * @param {number} place @param {string} given @param {string} shown @param {number} sure
     * @param {boolean} byModel @param {boolean} changed
     */
    #label(place, given, shown, sure, byModel, changed) {
        const at = `row ${Math.floor(place / this.task.columns) + 1} column ${(place % this.task.columns) + 1}`;
        const what = this.task.kind === "sudoku" ? (shown === "0" ? "blank" : shown) : (MAZE_WORDS[shown] ?? "unknown");
        if (!byModel) return `${at}: ${what}${this.task.kind === "sudoku" && given !== "0" ? ", given" : ""}`;
        return `${at}: ${what}, by the model, ${Math.round(100 * sure)} % sure${changed ? ", changed" : ""}`;
    }
}

/** @type {Record<string, string>} */
const MAZE_CLASSES = { "#": "wall", " ": "open", S: "start", G: "goal", o: "path" };
/** @type {Record<string, string>} */
const MAZE_WORDS = { "#": "wall", " ": "open", S: "start", G: "goal", o: "path" };

/**
 * How many cells differ.
 * @param {string} before
 * @param {string} after
 */
export function changes(before, after) {
    let count = 0;
    for (let place = 0; place < after.length; place++) count += Number(before[place] !== after[place]);
    return count;
}

/**
 * A symmetric form in words.
 * @param {Task} task
 * @param {Form} form
 */
export function describeForm(task, form) {
    if (task.kind === "maze") return "the maze turned or mirrored";
    const renamed = form.symbols.map((symbol, token) => [token - 1, symbol - 1]).slice(2);
    const moved = renamed.filter(([from, to]) => from !== to).map(([from, to]) => `${from}\u2192${to}`).join(" ");
    const side = task.columns;
    const row = (/** @type {number} */ place) => Math.floor(form.cells[place] / side);
    const turned = row(0) !== row(1);
    return [moved ? `digits renamed ${moved}` : "", "rows and columns shuffled", turned ? "transposed" : ""].filter(Boolean).join(", ");
}
