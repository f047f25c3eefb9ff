// Sudoku: the rules in the words of the command line, a search for answers, and random puzzles.

/** @typedef {import("./board.js").Task} Task */

const BLANK = 1; // token ids: 0 pad, 1 blank, 1 + d the digit d

/**
 * The cells that hold each digit once: rows, then columns, then boxes.
 * @param {Task} task
 * @returns {number[][]}
 */
export function units(task) {
    const side = task.columns;
    const every = [...Array(side).keys()];
    const rows = every.map((row) => every.map((column) => row * side + column));
    const columns = every.map((column) => every.map((row) => row * side + column));
    const boxes = every.map((box) => {
        const across = side / task.boxColumns;
        const [top, left] = [Math.floor(box / across) * task.boxRows, (box % across) * task.boxColumns];
        return every.map((cell) => (top + Math.floor(cell / task.boxColumns)) * side + left + (cell % task.boxColumns));
    });
    return [...rows, ...columns, ...boxes];
}

/** @param {number} count */
function times(count) {
    return count === 2 ? "twice" : `${count} times`;
}

/**
 * Rows, columns and boxes that repeat a digit, in words.
 * @param {Task} task
 * @param {ArrayLike<number>} tokens
 */
export function questionFaults(task, tokens) {
    const kinds = ["row", "column", "box"];
    /** @type {string[]} */
    const faults = [];
    units(task).forEach((cells, number) => {
        const counts = new Map();
        for (const cell of cells) if (tokens[cell] > BLANK) counts.set(tokens[cell], (counts.get(tokens[cell]) ?? 0) + 1);
        const twice = [...counts].filter(([, count]) => count > 1).sort(([a], [b]) => a - b);
        if (!twice.length) return;
        const place = `${kinds[Math.floor(number / task.columns)]} ${(number % task.columns) + 1}`;
        faults.push(`${place} has ${twice.map(([token, count]) => `${token - BLANK} ${times(count)}`).join(" and ")}`);
    });
    return faults;
}

/**
 * Cells whose digit stands twice in a row, column or box.
 * @param {Task} task
 * @param {ArrayLike<number>} tokens
 */
export function conflicts(task, tokens) {
    const found = new Set();
    for (const cells of units(task)) {
        for (const cell of cells) {
            const alike = cells.filter((other) => tokens[other] === tokens[cell]);
            if (tokens[cell] > BLANK && alike.length > 1) found.add(cell);
        }
    }
    return found;
}

/**
 * Which rules an answer breaks, in words; none: it is verified.
 * @param {Task} task
 * @param {ArrayLike<number>} question
 * @param {ArrayLike<number>} answer
 */
export function answerFaults(task, question, answer) {
    const faults = [];
    const digit = (/** @type {number} */ token) => (token > BLANK ? String(token - BLANK) : ".");
    const empty = Array.from(answer).filter((token) => token <= BLANK).length;
    if (empty) faults.push(`${empty} cells have no digit`);
    for (let cell = 0; cell < task.cells; cell++) {
        if (question[cell] > BLANK && question[cell] !== answer[cell]) {
            const place = `row ${Math.floor(cell / task.columns) + 1} column ${(cell % task.columns) + 1}`;
            faults.push(`${place} was given as ${digit(question[cell])} and became ${digit(answer[cell])}`);
        }
    }
    return [...faults, ...questionFaults(task, answer)];
}

/**
 * Count answers to a puzzle, up to a limit.
 * @param {Task} task
 * @param {ArrayLike<number>} tokens
 * @param {{limit?: number, random?: (() => number) | null, patience?: number}} [options]
 *     random: digits are tried in random order; patience: cells tried before giving up
 * @returns {{count: number, answer: Int32Array | null, whole: boolean}} whole: whether the search came to its end
 */
export function countAnswers(task, tokens, { limit = 2, random = null, patience = 200_000 } = {}) {
    const side = task.columns;
    const everything = (1 << side) - 1;
    const [rows, columns, boxes] = [new Int32Array(side), new Int32Array(side), new Int32Array(side)];
    const across = side / task.boxColumns;
    const box = (/** @type {number} */ cell) =>
        Math.floor(Math.floor(cell / side) / task.boxRows) * across + Math.floor((cell % side) / task.boxColumns);
    const grid = Int32Array.from(tokens);
    /** @type {number[]} */
    const empty = [];
    for (let cell = 0; cell < task.cells; cell++) {
        if (grid[cell] <= BLANK) {
            empty.push(cell);
            continue;
        }
        const bit = 1 << (grid[cell] - BLANK - 1);
        const [row, column] = [Math.floor(cell / side), cell % side];
        if ((rows[row] | columns[column] | boxes[box(cell)]) & bit) return { count: 0, answer: null, whole: true };
        rows[row] |= bit;
        columns[column] |= bit;
        boxes[box(cell)] |= bit;
    }
    let [count, left] = [0, patience];
    /** @type {Int32Array | null} */
    let answer = null;
    const search = (/** @type {number} */ depth) => {
        if (depth === empty.length) {
            count += 1;
            answer = Int32Array.from(grid);
            return;
        }
        if (left-- <= 0) return;
        let [best, fewest, candidates] = [depth, side + 1, 0];
        for (let index = depth; index < empty.length && fewest > 1; index++) {
            const cell = empty[index];
            const mask = everything & ~(rows[Math.floor(cell / side)] | columns[cell % side] | boxes[box(cell)]);
            let bits = 0;
            for (let rest = mask; rest; rest &= rest - 1) bits += 1;
            if (bits < fewest) [best, fewest, candidates] = [index, bits, mask];
        }
        [empty[depth], empty[best]] = [empty[best], empty[depth]];
        const cell = empty[depth];
        const [row, column, square] = [Math.floor(cell / side), cell % side, box(cell)];
        const digits = [...Array(side).keys()].filter((digit) => candidates & (1 << digit));
        if (random) shuffle(digits, random);
        for (const digit of digits) {
            const bit = 1 << digit;
            grid[cell] = digit + 1 + BLANK;
            rows[row] |= bit;
            columns[column] |= bit;
            boxes[square] |= bit;
            search(depth + 1);
            rows[row] &= ~bit;
            columns[column] &= ~bit;
            boxes[square] &= ~bit;
            grid[cell] = BLANK;
            if (count >= limit || left <= 0) return;
        }
    };
    search(0);
    return { count, answer, whole: count >= limit || left > 0 };
}

/**
 * A random puzzle with one answer: givens are taken from a full grid in random order, as long as it stays the only one.
 * @param {Task} task
 * @param {() => number} [random]
 * @returns {Int32Array} token ids
 */
export function randomPuzzle(task, random = Math.random) {
    const start = new Int32Array(task.cells).fill(BLANK);
    const first = shuffle([...Array(task.columns).keys()], random);
    first.forEach((digit, cell) => (start[cell] = digit + 1 + BLANK)); // a random row spreads the search
    const filled = countAnswers(task, start, { limit: 1, random }).answer;
    if (!filled) return randomPuzzle(task, random);
    const puzzle = Int32Array.from(filled);
    const fewest = Math.round(task.cells * (0.28 + 0.12 * random()));
    let givens = task.cells;
    for (const cell of shuffle([...Array(task.cells).keys()], random)) {
        if (givens <= fewest) break;
        const kept = puzzle[cell];
        puzzle[cell] = BLANK;
        const found = countAnswers(task, puzzle, { limit: 2, patience: 5000 });
        if (found.count === 1 && found.whole) givens -= 1;
        else puzzle[cell] = kept;
    }
    return puzzle;
}

/**
 * @template T
 * @param {T[]} list
 * @param {() => number} random
 */
function shuffle(list, random) {
    for (let last = list.length - 1; last > 0; last--) {
        const other = Math.floor(random() * (last + 1));
        [list[last], list[other]] = [list[other], list[last]];
    }
    return list;
}
