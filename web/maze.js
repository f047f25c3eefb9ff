// Mazes: the rules in the words of the command line, shortest paths, and random mazes of the kind that models train on.

/** @typedef {import("./board.js").Task} Task */

export const [WALL, OPEN, START, GOAL, PATH] = [1, 2, 3, 4, 5]; // token ids; 0 is pad
const CHARACTERS = "?# SGo";
const UNREACHED = -1;
// As `trm-deploy data build maze` makes them: the share of growth from the newest cell, and of walls taken away.
const WINDING = 0.95;
const REMOVED = 0.02;
const HARD = 112;

/** @param {Task} task @param {number} cell */
function place(task, cell) {
    return `row ${Math.floor(cell / task.columns) + 1} column ${(cell % task.columns) + 1}`;
}

/** @param {number} token */
function named(token) {
    return token === WALL ? "a wall" : token === OPEN ? "open" : CHARACTERS[token];
}

/** @param {ArrayLike<number>} tokens @param {number} wanted */
function holding(tokens, wanted) {
    return Array.from(tokens, (token, cell) => (token === wanted ? cell : UNREACHED)).filter((cell) => cell !== UNREACHED);
}

/** @param {Task} task @param {number} cell */
function beside(task, cell) {
    const [row, column] = [Math.floor(cell / task.columns), cell % task.columns];
    const found = [];
    if (row) found.push(cell - task.columns);
    if (row + 1 < task.rows) found.push(cell + task.columns);
    if (column) found.push(cell - 1);
    if (column + 1 < task.columns) found.push(cell + 1);
    return found;
}

/**
 * Steps from a cell to each other one through passable cells; -1 where none lead there.
 * @param {Task} task
 * @param {(cell: number) => boolean} passable
 * @param {number} start
 */
function distances(task, passable, start) {
    const found = new Int32Array(task.cells).fill(UNREACHED);
    found[start] = 0;
    const reached = [start];
    for (const cell of reached) {
        for (const next of beside(task, cell)) {
            if (passable(next) && found[next] === UNREACHED) {
                found[next] = found[cell] + 1;
                reached.push(next);
            }
        }
    }
    return found;
}

/**
 * Not exactly one start and one goal, path marks, or no way between start and goal, in words.
 * @param {Task} task
 * @param {ArrayLike<number>} question
 */
export function questionFaults(task, question) {
    const faults = [];
    for (const token of [START, GOAL]) {
        const cells = holding(question, token);
        if (cells.length !== 1) {
            const places = cells.length ? ` (${cells.slice(0, 4).map((cell) => place(task, cell)).join(", ")})` : "";
            faults.push(`${cells.length} cells hold ${CHARACTERS[token]}${places}, expected one`);
        }
    }
    Array.from(question).forEach((token, cell) => {
        if (token < WALL || token > GOAL) faults.push(`${place(task, cell)} holds ${CHARACTERS[token]}, which no question has`);
    });
    if (!faults.length && shortest(task, question) === UNREACHED) faults.push("no path leads from S to G");
    return faults;
}

/**
 * Steps of a shortest path from S to G; -1 where there is none.
 * @param {Task} task
 * @param {ArrayLike<number>} question
 */
export function shortest(task, question) {
    const [[start], [goal]] = [holding(question, START), holding(question, GOAL)];
    return distances(task, (cell) => question[cell] !== WALL, start)[goal];
}

/**
 * Changed cells; a path that is interrupted or longer than need be; marks beside it; in words.
 * @param {Task} task
 * @param {ArrayLike<number>} question
 * @param {ArrayLike<number>} answer
 */
export function answerFaults(task, question, answer) {
    const none = questionFaults(task, question);
    if (none.length) return none.map((fault) => `the question is none: ${fault}`);
    const marked = (/** @type {number} */ cell) => question[cell] === OPEN && answer[cell] === PATH;
    const faults = [];
    for (let cell = 0; cell < task.cells; cell++) {
        if (answer[cell] !== question[cell] && !marked(cell)) {
            faults.push(`${place(task, cell)} was given as ${named(question[cell])} and became ${named(answer[cell])}`);
        }
    }
    const [[start], [goal]] = [holding(question, START), holding(question, GOAL)];
    const along = distances(task, (cell) => marked(cell) || question[cell] === START || question[cell] === GOAL, start);
    if (along[goal] === UNREACHED) {
        const farthest = along.indexOf(Math.max(...along));
        faults.push(`the path is interrupted: from S it leads to ${place(task, farthest)}, not to G`);
        return faults;
    }
    const more = along[goal] - shortest(task, question);
    if (more) faults.push(`the path takes ${along[goal]} steps, ${more} more than the shortest`);
    const stray = Array.from(answer).filter((_, cell) => marked(cell)).length - (along[goal] - 1);
    if (stray) faults.push(`${stray} cells beside the path are marked o`);
    return faults;
}

/**
 * A random maze: grown from one cell so that no two open ones meet, then some walls taken away; start and goal far apart
 * with one shortest path between them.
 * @param {Task} task
 * @param {() => number} [random]
 * @returns {Int32Array} token ids
 */
export function randomMaze(task, random = Math.random) {
    const pick = (/** @type {number} */ count) => Math.floor(random() * count);
    let wanted = Math.min(Math.max(1, Math.floor(task.cells / 8)), HARD);
    for (let tries = 1; ; tries++) {
        if (tries % 100 === 0) wanted = Math.max(1, wanted - 1); // hardly any of this size has such a path
        const grid = grown(task, random, pick);
        const open = holding(grid, OPEN);
        const start = open[pick(open.length)];
        const away = distances(task, (cell) => grid[cell] === OPEN, start);
        const ways = new Int32Array(task.cells);
        ways[start] = 1;
        for (const cell of open.sort((a, b) => away[a] - away[b])) {
            for (const next of beside(task, cell)) if (away[next] === away[cell] + 1) ways[next] = Math.min(2, ways[next] + ways[cell]);
        }
        const goals = open.filter((cell) => away[cell] >= wanted && ways[cell] === 1);
        if (!goals.length) continue;
        grid[start] = START;
        grid[goals[pick(goals.length)]] = GOAL;
        return grid;
    }
}

/**
 * @param {Task} task
 * @param {() => number} random
 * @param {(count: number) => number} pick
 */
function grown(task, random, pick) {
    const grid = new Int32Array(task.cells).fill(WALL);
    const around = (/** @type {number} */ cell) => beside(task, cell).filter((next) => grid[next] === OPEN).length;
    const active = [pick(task.cells)];
    grid[active[0]] = OPEN;
    while (active.length) {
        const chosen = random() < WINDING ? active.length - 1 : pick(active.length);
        const free = beside(task, active[chosen]).filter((cell) => grid[cell] === WALL && around(cell) === 1);
        if (free.length) {
            const cell = free[pick(free.length)];
            grid[cell] = OPEN;
            active.push(cell);
        } else {
            active[chosen] = /** @type {number} */ (active.at(-1));
            active.pop();
        }
    }
    for (let cell = 0; cell < task.cells; cell++) {
        if (grid[cell] === WALL && around(cell) > 1 && random() < REMOVED) grid[cell] = OPEN;
    }
    return grid;
}
