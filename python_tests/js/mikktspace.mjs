// Compute tangents with MikkTSpace: JSON with positions, normals and uv of corners in, tangents out.
import fs from "fs";
import { createRequire } from "module";

const require = createRequire(process.env.DFAST_TEST_NODE + "/");
const { generateTangents } = require("mikktspace");
const mesh = JSON.parse(fs.readFileSync(process.argv[2]));
const [positions, normals, uv] = ["positions", "normals", "uv"].map((k) => new Float32Array(mesh[k]));
console.log(JSON.stringify(Array.from(generateTangents(positions, normals, uv))));
