// Draws a GLB file (glTF 2.0) that is in the page, and turns it with the pointer. It reads what the exports of
// dfast hold: nodes with a place, triangles with colours or a texture, a normal map. It has no dependency and loads
// nothing. It is a module, so that several in one document do not share names.

const VERTEX = `#version 300 es
in vec3 position, normal;
in vec4 color;
in vec2 uv;
uniform mat4 projection, view;
uniform vec3 shift;
out vec3 vPosition, vNormal, vColor;
out vec2 vUv;
void main() {
  vPosition = position + shift; vNormal = normal; vColor = color.rgb; vUv = uv;
  gl_Position = projection * (view * vec4(vPosition, 1.0));
}`;

// The light of dfast.render.studio, whose comments say what is what; here y is up, as in glTF.
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 vPosition, vNormal, vColor;
in vec2 vUv;
uniform sampler2D albedoMap, normalMap;
uniform vec3 eye, key, fill, factor;
uniform float bumps;
out vec4 pixel;
float dome(vec3 d) { return mix(GROUND_LIGHT, SKY_LIGHT, 0.5 + 0.5 * d.y); }
vec3 bumped(vec3 n) {  // tangents along u and against v, as glTF has them
  vec3 px = dFdx(vPosition), py = dFdy(vPosition);
  vec2 ux = dFdx(vUv), uy = dFdy(vUv);
  float side = sign(ux.x * uy.y - ux.y * uy.x);
  if (bumps * side == 0.0) return n;
  vec3 t = side * (px * uy.y - py * ux.y), b = side * (px * uy.x - py * ux.x);
  vec3 m = texture(normalMap, vUv).xyz * 2.0 - 1.0;
  return normalize(m.x * normalize(t - n * dot(n, t)) + m.y * normalize(b - n * dot(n, b)) + m.z * n);
}
void main() {
  vec3 v = normalize(eye - vPosition), n = bumped(normalize(vNormal));
  n = normalize(n - min(dot(n, v), 0.0) * v);
  float cosine = dot(n, v);
  float irradiance = KEY_LIGHT * max((dot(n, key) + SOFTNESS) / (1.0 + SOFTNESS), 0.0)
      + FILL_LIGHT * max(dot(n, fill), 0.0) + dome(n);
  vec3 mirrored = 2.0 * cosine * n - v;
  float share = REFLECTANCE + (RIM - REFLECTANCE) * pow(1.0 - cosine, 5.0);
  float around = dome(mirrored) / SKY_LIGHT + LAMP * pow(max(dot(mirrored, key), 0.0), LAMP_WIDTH);
  vec3 albedo = vColor * factor * texture(albedoMap, vUv).rgb;
  float dark = 1.0 - max(albedo.r, max(albedo.g, albedo.b));
  vec3 light = clamp((albedo + DUST * dark * dark) * irradiance + share * around, 0.0, 1.0);
  pixel = vec4(mix(12.92 * light, 1.055 * pow(max(light, 0.0031308), vec3(1.0 / 2.4)) - 0.055,
      step(0.0031308, light)), 1.0);
}`;

const SIZES = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4 };

function readGlb(bytes) {
  const view = new DataView(bytes.buffer), length = view.getUint32(12, true);
  const json = JSON.parse(new TextDecoder().decode(bytes.subarray(20, 20 + length)));
  const bufferView = (index) => {
    const v = json.bufferViews[index], start = 28 + length + (v.byteOffset || 0);
    return { bytes: bytes.subarray(start, start + v.byteLength), stride: v.byteStride || 0 };
  };
  return { json, bufferView };
}

function compile(gl, light) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    const constants = Object.entries(light.numbers).map(([k, v]) => `#define ${k} ${v.toFixed(6)}\n`).join("");
    gl.shaderSource(shader, text.replace("\n", "\n" + constants));
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) || "shaders");
  gl.useProgram(program);
  return program;
}

async function texture(gl, glb, info, format) {
  const handle = gl.createTexture();
  let image = new ImageData(new Uint8ClampedArray([255, 255, 255, 255]), 1, 1);
  if (info) {
    const source = glb.json.images[glb.json.textures[info.index].source];
    const file = new Blob([glb.bufferView(source.bufferView).bytes], { type: source.mimeType });
    image = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  }
  gl.bindTexture(gl.TEXTURE_2D, handle);
  gl.texImage2D(gl.TEXTURE_2D, 0, format, gl.RGBA, gl.UNSIGNED_BYTE, image);
  gl.generateMipmap(gl.TEXTURE_2D);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  return handle;
}

function upload(gl, program, glb, primitive) {
  const array = gl.createVertexArray();
  gl.bindVertexArray(array);
  const names = { POSITION: "position", NORMAL: "normal", COLOR_0: "color", TEXCOORD_0: "uv" };
  for (const [attribute, name] of Object.entries(names)) {
    const place = gl.getAttribLocation(program, name), index = primitive.attributes[attribute];
    if (place < 0) continue;
    if (index === undefined) { gl.vertexAttrib4f(place, 1, 1, 1, 1); continue; }
    const a = glb.json.accessors[index], v = glb.bufferView(a.bufferView);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, v.bytes, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    const size = SIZES[a.type], offset = a.byteOffset || 0;
    gl.vertexAttribPointer(place, size, a.componentType, !!a.normalized, v.stride, offset);
  }
  const a = glb.json.accessors[primitive.indices];
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, glb.bufferView(a.bufferView).bytes, gl.STATIC_DRAW);
  return { array, count: a.count, type: a.componentType, offset: a.byteOffset || 0 };
}

async function load(gl, program, glb) {
  const parts = [];
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  const placed = glb.json.nodes.filter((node) => node.mesh !== undefined).flatMap((node) =>
    glb.json.meshes[node.mesh].primitives.map((primitive) => [primitive, node.translation || [0, 0, 0]]));
  for (const [primitive, shift] of placed) {
    const material = (glb.json.materials || [])[primitive.material] || {};
    const surface = material.pbrMetallicRoughness || {};
    const bounds = glb.json.accessors[primitive.attributes.POSITION];
    for (let i = 0; i < 3; i++) {
      low[i] = Math.min(low[i], bounds.min[i] + shift[i]);
      high[i] = Math.max(high[i], bounds.max[i] + shift[i]);
    }
    parts.push({
      ...upload(gl, program, glb, primitive), shift,
      factor: (surface.baseColorFactor || [1, 1, 1]).slice(0, 3),
      albedo: await texture(gl, glb, surface.baseColorTexture, gl.SRGB8_ALPHA8),
      normals: await texture(gl, glb, material.normalTexture, gl.RGBA8),
      bumps: material.normalTexture ? 1 : 0,
    });
  }
  const centre = low.map((v, i) => (v + high[i]) / 2);
  return { parts, centre, radius: Math.hypot(...high.map((v, i) => v - low[i])) / 2 || 1 };
}

function draw(gl, program, model, pose, light) {
  const { canvas } = gl, ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  gl.viewport(0, 0, canvas.width, canvas.height);
  gl.clearColor(...light.background, 1);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  const [sa, ca, se, ce] = [Math.sin(pose.azimuth), Math.cos(pose.azimuth), Math.sin(pose.elevation),
    Math.cos(pose.elevation)];
  const back = [ce * sa, se, ce * ca], right = [ca, 0, -sa], up = [-se * sa, ce, -se * ca];
  const far = model.radius * pose.distance, eye = model.centre.map((v, i) => v + far * back[i]);
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const view = [0, 1, 2].flatMap((i) => [right[i], up[i], back[i], 0]);
  view.push(-dot(right, eye), -dot(up, eye), -dot(back, eye), 1);
  const slope = 1 / Math.tan(Math.PI / 9), aspect = canvas.width / canvas.height;  // 40 degrees
  const [x, y] = aspect > 1 ? [slope / aspect, slope] : [slope, slope * aspect];
  const n = Math.max(far - 1.5 * model.radius, 0.02 * far), f = far + 1.5 * model.radius;
  const projection = [x, 0, 0, 0, 0, y, 0, 0, 0, 0, (f + n) / (n - f), -1, 0, 0, (2 * f * n) / (n - f), 0];
  const place = (name) => gl.getUniformLocation(program, name);
  const world = (l) => { const d = [0, 1, 2].map((i) => l[0] * right[i] + l[1] * up[i] + l[2] * back[i]);
    return d.map((v) => v / Math.hypot(...d)); };
  gl.uniformMatrix4fv(place("view"), false, view);
  gl.uniformMatrix4fv(place("projection"), false, projection);
  gl.uniform3fv(place("eye"), eye);
  gl.uniform3fv(place("key"), world(light.key));
  gl.uniform3fv(place("fill"), world(light.fill));
  gl.uniform1i(place("albedoMap"), 0);
  gl.uniform1i(place("normalMap"), 1);
  for (const part of model.parts) {
    gl.uniform3fv(place("shift"), part.shift);
    gl.uniform3fv(place("factor"), part.factor);
    gl.uniform1f(place("bumps"), part.bumps);
    gl.activeTexture(gl.TEXTURE0); gl.bindTexture(gl.TEXTURE_2D, part.albedo);
    gl.activeTexture(gl.TEXTURE1); gl.bindTexture(gl.TEXTURE_2D, part.normals);
    gl.bindVertexArray(part.array);
    gl.drawElements(gl.TRIANGLES, part.count, part.type, part.offset);
  }
}

function turnWithPointer(canvas, pose, redraw) {
  const pointers = new Map(), first = { ...pose };
  const zoom = (factor) => { pose.distance = Math.min(Math.max(pose.distance * factor, 1.2), 20); redraw(); };
  canvas.addEventListener("pointerdown", (e) => {
    canvas.setPointerCapture(e.pointerId); pointers.set(e.pointerId, [e.clientX, e.clientY]);
  });
  canvas.addEventListener("pointermove", (e) => {
    const before = pointers.get(e.pointerId);
    if (!before) return;
    const others = [...pointers].filter(([id]) => id !== e.pointerId).map(([, place]) => place);
    if (others.length) {
      const apart = ([x, y]) => Math.hypot(x - others[0][0], y - others[0][1]) || 1;
      zoom(apart(before) / apart([e.clientX, e.clientY]));
    } else {
      pose.azimuth -= (e.clientX - before[0]) * 0.01;
      pose.elevation = Math.min(Math.max(pose.elevation + (e.clientY - before[1]) * 0.01, -1.55), 1.55);
      redraw();
    }
    pointers.set(e.pointerId, [e.clientX, e.clientY]);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (e) => pointers.delete(e.pointerId));
  const scroll = (e) => { e.preventDefault(); zoom(Math.exp(e.deltaY * 0.001)); };
  canvas.addEventListener("wheel", scroll, { passive: false });
  canvas.addEventListener("dblclick", () => { Object.assign(pose, first); redraw(); });
}

async function main() {
  const canvas = document.querySelector("canvas"), light = JSON.parse(document.getElementById("light").textContent);
  const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
  if (!gl) throw new Error("this browser has no WebGL 2");
  gl.enable(gl.DEPTH_TEST);
  const text = atob(document.getElementById("glb").textContent.trim());
  const glb = readGlb(Uint8Array.from(text, (c) => c.charCodeAt(0)));
  const program = compile(gl, light), model = await load(gl, program, glb);
  const pose = { azimuth: Math.PI / 6, elevation: Math.PI / 9, distance: 3.2 };
  let due = 0;
  const redraw = () => {
    due = due || requestAnimationFrame(() => { due = 0; draw(gl, program, model, pose, light); });
  };
  turnWithPointer(canvas, pose, redraw);
  new ResizeObserver(redraw).observe(canvas);
  redraw();
  document.body.dataset.state = "drawn";
}

main().catch((error) => {
  document.body.dataset.state = "failed";
  document.getElementById("trouble").textContent = `The object cannot be shown: ${error.message}`;
});
