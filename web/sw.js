// Keeps the page's files, so that it works without a network once it was loaded. What the network has comes first.

const CACHE = "trm-deploy-playground";
const LATER = /asyncify/; // WebAssembly for GPUs: kept when it is used

addEventListener("install", (event) => event.waitUntil(keep().then(() => self.skipWaiting())));
addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

async function keep() {
    const response = await fetch("files.json");
    const { files } = await response.json();
    const cache = await caches.open(CACHE);
    await cache.addAll(["./", "files.json", ...Object.keys(files).filter((name) => !LATER.test(name))]);
}

addEventListener("fetch", (event) => {
    const url = new URL(event.request.url);
    const scope = new URL(self.registration.scope);
    if (event.request.method !== "GET" || url.origin !== scope.origin || !url.pathname.startsWith(scope.pathname)) return;
    event.respondWith(answer(event.request));
});

/** @param {Request} request */
async function answer(request) {
    const cache = await caches.open(CACHE);
    try {
        const response = await fetch(request);
        if (response.ok && (await cache.match(request))) await cache.put(request, response.clone());
        return response;
    } catch (error) {
        const kept = await cache.match(request, { ignoreSearch: true });
        if (kept) return kept;
        throw error;
    }
}
