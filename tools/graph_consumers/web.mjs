// Runs an ONNX file once in ONNX Runtime Web's WebAssembly, in one thread:
//     node web.mjs FOLDER-WITH-NODE_MODULES MODEL FEEDS.json
// prints the logits as a JSON list. FEEDS: name -> {type, dims, data}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, model, feedsFile] = process.argv.slice(2);
const ort = createRequire(join(folder, "package.json"))("onnxruntime-web");
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "fatal";

const makeTensor = ({ type, dims, data }) =>
  new ort.Tensor(type, type === "bool" ? Uint8Array.from(data) : type === "int32" ? Int32Array.from(data) : Float32Array.from(data), dims);

try {
  const session = await ort.InferenceSession.create(readFileSync(model), { executionProviders: ["wasm"] });
  const feeds = Object.fromEntries(
    Object.entries(JSON.parse(readFileSync(feedsFile, "utf-8"))).map(([name, value]) => [name, makeTensor(value)]),
  );
  const results = await session.run(feeds);
  console.log(JSON.stringify(Array.from(results.logits.data)));
} catch (error) {
  console.error(String(error.message ?? error).split("\n")[0]);
  process.exit(1);
}
