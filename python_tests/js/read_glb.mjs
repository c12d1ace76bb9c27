// Validate a GLB file with the Khronos validator and read it with glTF Transform; print JSON.
import fs from "fs";
import { createRequire } from "module";
import { pathToFileURL } from "url";

const require = createRequire(process.env.DFAST_TEST_NODE + "/");
const validator = require("gltf-validator");
const { NodeIO } = await import(pathToFileURL(require.resolve("@gltf-transform/core")));

const bytes = new Uint8Array(fs.readFileSync(process.argv[2]));
const { issues } = await validator.validateBytes(bytes);
const root = (await new NodeIO().readBinary(bytes)).getRoot();
const primitive = root.listMeshes()[0].listPrimitives()[0];
const rows = (name) => {
  const accessor = primitive.getAttribute(name);
  if (!accessor) return null;
  return Array.from({ length: accessor.getCount() }, (_, i) => accessor.getElement(i, []));
};
const material = primitive.getMaterial();
console.log(
  JSON.stringify({
    issues,
    positions: rows("POSITION"),
    normals: rows("NORMAL"),
    tangents: rows("TANGENT"),
    uv: rows("TEXCOORD_0"),
    colors: rows("COLOR_0"),
    faces: Array.from(primitive.getIndices().getArray()),
    roughness: material?.getRoughnessFactor(),
    metallic: material?.getMetallicFactor(),
    textures: root.listTextures().map((texture) => [texture.getMimeType(), ...texture.getSize()]),
  }),
);
