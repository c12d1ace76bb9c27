// Read a USDZ file with three.js and print JSON.
import fs from "fs";
import { createRequire } from "module";
import { pathToFileURL } from "url";

// three.js makes an image element for each texture; nothing is drawn here.
globalThis.self = globalThis;
globalThis.document = {
  createElementNS: () => ({ addEventListener() {}, removeEventListener() {} }),
};
const require = createRequire(process.env.DFAST_TEST_NODE + "/");
const loader = require.resolve("three/addons/loaders/USDLoader.js");
const { USDLoader } = await import(pathToFileURL(loader));

const file = fs.readFileSync(process.argv[2]);
const group = new USDLoader().parse(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
group.updateMatrixWorld(true);
group.traverse((object) => {
  if (!object.isMesh) return;
  const geometry = object.geometry;
  const position = geometry.attributes.position;
  const material = object.material;
  console.log(
    JSON.stringify({
      positions: Array.from({ length: position.count }, (_, i) => [
        position.getX(i),
        position.getY(i),
        position.getZ(i),
      ]),
      attributes: Object.keys(geometry.attributes),
      world: object.matrixWorld.elements,
      roughness: material.roughness,
      metalness: material.metalness,
      map: material.map?.colorSpace ?? null,
      normalMap: Boolean(material.normalMap),
    }),
  );
});
