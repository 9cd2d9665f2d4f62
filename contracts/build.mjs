// Compiles src/ with npm's solc and writes one compact artifact per contract, the same bytes on every machine.
//
//   node build.mjs            writes plugins/potchain_multisig/artifacts/{PotSettlement,PotBook}.json
//   node build.mjs --check    writes nothing; exits 1 if a committed artifact is not what the sources compile to
//   node build.mjs --sizes    writes nothing; prints the size of each contract's code, in bytes
//
// Reproducible: the compiler and OpenZeppelin are pinned in package.json, file names are relative to this folder, and
// neither bytecode nor artifact holds the metadata hash (it would change with every comment) or a path of the machine.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const compiler = require("solc");

const here = dirname(fileURLToPath(import.meta.url));
const artifacts = join(here, "..", "plugins", "potchain_multisig", "artifacts");
const contracts = ["PotSettlement", "PotBook"];

// foundry.toml names the same settings. `runs` is measured: README.md.
export const settings = {
  evmVersion: "cancun",
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  optimizer: { enabled: true, runs: 200 },
  viaIR: true,
};

/** Text of a source unit: ours from src/, a dependency's from node_modules/. */
function sourceText(name) {
  const file = name.startsWith("src/") ? join(here, name) : join(here, "node_modules", name);
  return readFileSync(file, "utf8").replaceAll("\r\n", "\n");
}

/** Whether a message of the compiler stops the build: every error, and every warning about our own sources. */
function stops({ severity, sourceLocation }) {
  return severity === "error" || (severity === "warning" && !sourceLocation?.file.startsWith("@openzeppelin/"));
}

/** Compiles the contracts and everything that they import; throws with the compiler's own words. */
function compile() {
  const used = new Map();
  const take = (name) => {
    used.set(name, sourceText(name));
    return used.get(name);
  };
  const files = contracts.map((name) => `src/${name}.sol`);
  const sources = Object.fromEntries(files.map((file) => [file, { content: take(file) }]));
  const wanted = ["abi", "userdoc", "devdoc", "evm.bytecode.object", "evm.deployedBytecode.object",
    "evm.deployedBytecode.immutableReferences"];
  const outputSelection = Object.fromEntries(contracts.map((name) => [`src/${name}.sol`, { [name]: wanted }]));
  const input = { language: "Solidity", sources, settings: { ...settings, outputSelection } };
  const imported = (name) => {
    try {
      return { contents: take(name) };
    } catch (error) {
      return { error: error.message };
    }
  };
  const output = JSON.parse(compiler.compile(JSON.stringify(input), { import: imported }));
  const complaints = (output.errors ?? []).filter(stops);
  if (complaints.length > 0) throw new Error(complaints.map((entry) => entry.formattedMessage).join("\n"));
  return { output, used };
}

/** The same value with every object's keys in order. */
function ordered(value) {
  if (Array.isArray(value)) return value.map(ordered);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, ordered(value[key])]));
}

function sha256(text) {
  return `0x${createHash("sha256").update(text).digest("hex")}`;
}

/** One artifact as the text of its file: a line per field, so that a diff names what changed. */
function artifactText(name, { output, used }) {
  const compiled = output.contracts[`src/${name}.sol`][name];
  const sources = Object.fromEntries([...used].map(([file, text]) => [file, sha256(text)]));
  const immutable = Object.values(compiled.evm.deployedBytecode.immutableReferences ?? {}).flat();
  const fields = {
    contract: name,
    compiler: compiler.version().replace(".Emscripten.clang", ""),
    settings,
    settingsHash: sha256(JSON.stringify(ordered(settings))),
    sourceHash: sha256(JSON.stringify(ordered(sources))),
    abi: compiled.abi,
    bytecode: `0x${compiled.evm.bytecode.object}`,
    deployedBytecode: `0x${compiled.evm.deployedBytecode.object}`,
    immutableReferences: immutable.sort((one, other) => one.start - other.start),
    userdoc: compiled.userdoc,
    devdoc: compiled.devdoc,
  };
  const line = ([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(ordered(value))}`;
  const lines = Object.entries(fields).map(line);
  return `{\n${lines.join(",\n")}\n}\n`;
}

function main(option) {
  if (option !== undefined && !["--check", "--sizes"].includes(option)) {
    process.stderr.write(`build.mjs: unknown option ${option}; known: --check, --sizes\n`);
    return 2;
  }
  const compiled = compile();
  let different = 0;
  for (const name of contracts) {
    const file = join(artifacts, `${name}.json`);
    const text = artifactText(name, compiled);
    if (option === "--sizes") {
      const { bytecode, deployedBytecode } = JSON.parse(text);
      const bytes = (code) => code.length / 2 - 1;
      process.stdout.write(`${name}: ${bytes(deployedBytecode)} deployed, ${bytes(bytecode)} to create\n`);
    } else if (option === "--check") {
      const same = existsSync(file) && readFileSync(file, "utf8") === text;
      process.stdout.write(`${name}: ${same ? "is" : "is NOT"} what the sources compile to\n`);
      if (!same) different = 1;
    } else {
      mkdirSync(artifacts, { recursive: true });
      writeFileSync(file, text);
      process.stdout.write(`${name}: written\n`);
    }
  }
  if (different) process.stderr.write("run `node build.mjs` in contracts/ and commit the artifacts with the sources\n");
  return different;
}

process.exitCode = main(process.argv[2]);
