// Runs pytest in the CPython 3.14 that the npm package `pyodide` carries: one process of 32 bits, without threads.
// Told: the folder of that package, what it sees as which folder, as JSON, and pytest's arguments.
import { pathToFileURL } from "node:url";

const [pyodide, folders, ...pytest] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${pyodide}/pyodide.mjs`));
const python = await loadPyodide({ env: { HOME: "/", PYTHONHASHSEED: "0", PYTHONPYCACHEPREFIX: "/compiled" } });
for (const [folder, root] of Object.entries(JSON.parse(folders))) {
  python.FS.mkdirTree(folder);
  python.FS.mount(python.FS.filesystems.NODEFS, { root }, folder);
}
python.FS.chdir("/checkout");
python.globals.set("arguments", python.toPy(pytest));
process.exit(
  python.runPython(`
    import sys
    sys.path.insert(0, "/checkout")
    from tests.pythons.inside import run
    run(arguments)
  `),
);
