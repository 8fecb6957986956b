//! Wrong files and what is said about them.

use crate::flowfile::fault::render;
use crate::flowfile::parse;
use crate::flowfile::source::Format;

fn said(text: &str) -> String {
    match parse(text, Format::Yaml, "flow") {
        Ok(_) => panic!("nothing is wrong with {text}"),
        Err(faults) => render(&faults, "flow.yaml", text),
    }
}

/// The messages alone.
fn messages(text: &str) -> String {
    let faults = parse(text, Format::Yaml, "flow").expect_err(text);
    let lines = faults.iter().map(|fault| match &fault.hint {
        Some(hint) => {
            format!("{}:{} {}: {} [{hint}]", fault.span.line, fault.span.column, fault.path, fault.message)
        }
        None => format!("{}:{} {}: {}", fault.span.line, fault.span.column, fault.path, fault.message),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn all_faults_are_shown_at_once() {
    let text = r#"flow: bad
defaults:
  resorces: {cpus: 4}
  resources: {cpus: many, memory: 2000, time: "10:30"}
jobs:
  relax:
    comand: [relax.x]
    outputs:
      energy: {json: ../result.json}
  report:
    command: [cat, "${relax.enrgy}", "${relx.energy}"]
    files:
      /etc/passwd: {text: x}
      in.dat: {copy: ../../secret}
    after: relaxx
    env: {1X: a}
"#;
    insta::assert_snapshot!(said(text), @r#"
    flow.yaml:3:3: the key `resorces` is not known here (in defaults)
      |
    3 |   resorces: {cpus: 4}
      |   ^^^^^^^^ did you mean `resources`?
    flow.yaml:4:21: a whole number is needed here, not the text "many" (in defaults.resources.cpus)
      |
    4 |   resources: {cpus: many, memory: 2000, time: "10:30"}
      |                     ^^^^
    flow.yaml:4:35: `2000` has no unit: write 2000MB or 2000GB (in defaults.resources.memory)
      |
    4 |   resources: {cpus: many, memory: 2000, time: "10:30"}
      |                                   ^^^^
    flow.yaml:4:47: `10:30` may mean hours and minutes or minutes and seconds: write 10h30m or 10m30s (in defaults.resources.time)
      |
    4 |   resources: {cpus: many, memory: 2000, time: "10:30"}
      |                                               ^^^^^^^
    flow.yaml:7:5: the job does nothing: it has neither `command` nor `shell` (in jobs.relax)
      |
    7 |     comand: [relax.x]
      |     ^ for example command: [echo, hello]
    flow.yaml:7:5: the key `comand` is not known here (in jobs.relax)
      |
    7 |     comand: [relax.x]
      |     ^^^^^^ did you mean `command`?
    flow.yaml:9:22: the path `../result.json` leads out of the run directory (`..`) (in jobs.relax.outputs.energy.json)
      |
    9 |       energy: {json: ../result.json}
      |                      ^^^^^^^^^^^^^^
    flow.yaml:11:20: ${relax.enrgy}: the job `relax` has no output `enrgy` (in jobs.report.command[1])
       |
    11 |     command: [cat, "${relax.enrgy}", "${relx.energy}"]
       |                    ^^^^^^^^^^^^^^^^ did you mean `energy`?
    flow.yaml:11:38: ${relx.energy}: there is no job `relx` (in jobs.report.command[2])
       |
    11 |     command: [cat, "${relax.enrgy}", "${relx.energy}"]
       |                                      ^^^^^^^^^^^^^^^^ did you mean `relax`?
    flow.yaml:13:7: the path `/etc/passwd` is absolute: it has to be relative to the run directory (in jobs.report.files)
       |
    13 |       /etc/passwd: {text: x}
       |       ^^^^^^^^^^^
    flow.yaml:14:22: the path `../../secret` leads out of the folder of the flow file (`..`) (in jobs.report.files.in.dat.copy)
       |
    14 |       in.dat: {copy: ../../secret}
       |                      ^^^^^^^^^^^^ copy the file, or put a symbolic link to it, beside the flow file
    flow.yaml:15:12: there is no job `relaxx` (in jobs.report.after)
       |
    15 |     after: relaxx
       |            ^^^^^^ did you mean `relax`?
    flow.yaml:16:11: `1X` cannot be the name of a variable (in jobs.report.env)
       |
    16 |     env: {1X: a}
       |           ^^ use letters, digits and `_`, no digit first
    "#);
}

#[test]
fn circles_are_printed() {
    let text = "
jobs:
  a: {command: [x], after: c}
  b: {command: [\"${a.o}\"], outputs: {o: {text: stdout}}}
  c: {command: [\"${b.o}\"]}
  d: {command: [x], after: c}
";
    insta::assert_snapshot!(messages(&text.replace("after: c}\n  b", "after: c, outputs: {o: {text: stdout}}}\n  b")), @"3:3 jobs.a: these jobs wait for each other: a → c → b → a [each waits for the one after the arrow]");
    insta::assert_snapshot!(messages("jobs: {a: {command: [x], after: a}}"), @"1:8 jobs.a: these jobs wait for each other: a → a [each waits for the one after the arrow]");
    insta::assert_snapshot!(messages("jobs: {a: {each: b, command: [x]}, b: {each: a, command: [x]}}"), @r"
    1:8 jobs.a: `each` of `a` leads in a circle
    1:36 jobs.b: `each` of `b` leads in a circle
    ");
}

#[test]
fn commands_are_checked() {
    insta::assert_snapshot!(messages("
jobs:
  a: {command: echo hello}
  b: {command: []}
  c: {command: ['']}
  d: {}
  e: {command: [x], shell: y}
  f: {shell: ''}
  g: {shell: '#!/usr/bin/env python'}
  h: {command: [[x]]}
  i: {command: [\"a\\0\"]}
  j: 3
  k l: {command: [x]}
"), @r"
    3:16 jobs.a.command: `command` is a list: the program and its arguments [write [echo, hello], or `shell:` for a line that a shell reads]
    4:16 jobs.b.command: the command is empty
    5:17 jobs.c.command[0]: the name of the program is empty
    6:6 jobs.d: the job does nothing: it has neither `command` nor `shell` [for example command: [echo, hello]]
    7:28 jobs.e.shell: `command` and `shell` exclude each other [keep one of them]
    8:14 jobs.f.shell: the shell text is empty
    9:14 jobs.g.shell: a shell text is run by `sh`, whatever its first line says [for another interpreter: put the text under `files`, run it with `command`]
    10:17 jobs.h.command[0]: a text is needed here, not a list
    11:17 jobs.i.command[0]: an argument cannot contain a NUL byte
    12:6 jobs.j: a map is needed here, not the number 3
    13:3 jobs: `k l` cannot be the name of a job [use up to 64 letters, digits, `_` and `-`, a letter first; not `for`]
    ");
}

#[test]
fn references_are_checked() {
    insta::assert_snapshot!(messages("
jobs:
  s: {for: {x: [1, 2]}, command: [x], outputs: {t: {text: stdout}, f: {file: w}, j: {json: o}}}
  n: {command: [x]}
  a: {command: [\"${s[2].t}\"]}
  b: {command: [\"${s.t.deep}\"]}
  c: {command: [\"${s[0].f.size}\"]}
  d: {command: [\"${n.out}\"]}
  e: {command: [\"${n}\"]}
  f: {command: [\"${HOME}\"]}
  g: {command: [\"${s.t\"]}
  h: {command: [\"${PATH:-x}\"]}
  i: {shell: \"awk '{print ${s[0].t}}' x\"}
  j: {command: [x], worker: \"${s[0].t}\"}
  k: {command: [\"${for.x}\"]}
  l: {command: [\"${s.for.y}\"]}
  m: {command: [x], files: {p: {from: \"${s.f}\"}, q: {from: plain}}}
  o: {each: n, command: [x]}
  p: {each: q, command: [x]}
"), @r#"
    5:17 jobs.a.command[0]: ${s[2].t}: the sweep `s` has 2 jobs
    6:17 jobs.b.command[0]: ${s.t.deep}: the output `t` is one text or number
    7:17 jobs.c.command[0]: ${s[0].f.size}: the output `f` is a kept file, which has `name`, `sha256` and `size_bytes`
    8:17 jobs.d.command[0]: ${n.out}: the job `n` has no output `out` [declare it under `outputs` of `n`]
    9:17 jobs.e.command[0]: ${n}: the job `n` has no such output [write ${n.<output>}]
    10:17 jobs.f.command[0]: ${HOME}: there is no job `HOME` [for a shell variable write $HOME or $${HOME}]
    11:17 jobs.g.command[0]: `${s.t` has no closing brace [`$${` stands for a plain `${`]
    12:17 jobs.h.command[0]: `${PATH:-x}` is no reference such as ${job.output} or ${job.output.key[0]} [`$${` stands for a plain `${`]
    13:14 jobs.i.shell: ${s[0].t} stands inside single quotes, where the shell replaces nothing [hand it over, as in: awk -v x="${s[0].t}" '…']
    14:29 jobs.j.worker: `${s[0].t}` is not known before the flow runs [only parameters of a sweep (`for`) can stand here]
    15:17 jobs.k.command[0]: ${for.x}: this job has no such sweep parameter [it has no `for`]
    16:17 jobs.l.command[0]: ${s.for.y}: the sweep `s` has no such parameter
    17:39 jobs.m.files.p.from: `from` takes one kept file of another job [for example ${relax.wavefunction}, declared there as {file: WAVECAR}]
    17:60 jobs.m.files.q.from: `from` takes one kept file of another job [for example ${relax.wavefunction}, declared there as {file: WAVECAR}]
    18:13 jobs.o.each: `n` is one job, not a sweep (it has no `for`) [take `each` away: `o` may refer to `n` as it is]
    19:13 jobs.p.each: there is no job `q`
    "#);
}

#[test]
fn outputs_are_checked() {
    insta::assert_snapshot!(messages("
jobs:
  a:
    command: [x]
    outputs:
      a: stdout
      b: {}
      c: {json: x, text: y}
      d: {json: x, pointer: a.b}
      e: {regex: '(', in: stdout}
      f: {regex: 'a', in: stdout, group: 1}
      g: {regex: '(?<n>a)', in: stdout, group: m, type: float}
      h: {regex: 'a'}
      i: {text: stdout, pointer: /a}
      outputs: {text: stdout}
      j: {file: submit.sh}
      k: {file: a//b}
      l: {text: stdout, optional: yes}
"), @r#"
    6:10 jobs.a.outputs.a: an output is a map, not the text "stdout" [for example {json: result.json, pointer: /energy} or {text: stdout}]
    7:10 jobs.a.outputs.b: this says no kind of output [give one of `json`, `text`, `regex` and `file`]
    8:10 jobs.a.outputs.c: this says more than one kind of output [give one of `json`, `text`, `regex` and `file`]
    9:29 jobs.a.outputs.d.pointer: `a.b` is no JSON pointer [write /a/b]
    10:18 jobs.a.outputs.e.regex: the pattern is wrong: unclosed group
    11:42 jobs.a.outputs.f.group: 1 is not between 0 and 0
    12:48 jobs.a.outputs.g.group: the pattern has no group named `m`
    12:57 jobs.a.outputs.g.type: `float` is not known here [known are: text, integer, number]
    13:10 jobs.a.outputs.h: the key `in` is missing
    14:25 jobs.a.outputs.i: the key `pointer` is not known here [known are: json, text, regex, file, optional, trim, type]
    15:7 jobs.a.outputs.outputs: `outputs` cannot be the name of an output [use up to 64 letters, digits, `_` and `-`, a letter first]
    16:17 jobs.a.outputs.j.file: the path `submit.sh` is a name that the runner uses itself
    17:17 jobs.a.outputs.k.file: the path `a//b` has an empty part or a `.`
    18:35 jobs.a.outputs.l.optional: true or false is needed here, not the text "yes" [write true]
    "#);
}

#[test]
fn files_are_checked() {
    insta::assert_snapshot!(messages("
jobs:
  a:
    command: [x]
    files:
      a: {text: x, json: y}
      b: {}
      .jobferry/x: {text: x}
      c: /etc/passwd
      d: ~/x
      e: {text: x}
      e/f: {text: x}
      \"nul\\0\": {text: x}
  b: {command: [x], files: [a/x, b/x, ../y]}
  c: {command: [x], stdin: {text: a, file: b}}
  d: {command: [x], stdin: {file: ../b}}
"), @r"
    6:7 jobs.a.files: `e` is a file, so `e/f` cannot be in it
    6:10 jobs.a.files.a: this says more than one content [give one of `copy`, `text`, `json` and `from`]
    7:10 jobs.a.files.b: this says no content [give one of `copy`, `text`, `json` and `from`]
    8:7 jobs.a.files: the path `.jobferry/x` is a name that the runner uses itself
    9:10 jobs.a.files.c: the path `/etc/passwd` has to be relative to the folder of the flow file [copy the file, or put a symbolic link to it, beside the flow file]
    10:10 jobs.a.files.d: the path `~/x` has to be relative to the folder of the flow file [copy the file, or put a symbolic link to it, beside the flow file]
    13:7 jobs.a.files: the path `nul\0` contains a NUL byte
    14:28 jobs.b.files: two files have the path `x`
    14:39 jobs.b.files[2]: the path `../y` leads out of the folder of the flow file (`..`) [copy the file, or put a symbolic link to it, beside the flow file]
    15:28 jobs.c.stdin: the standard input is a text, {text: …} or {file: …}
    16:35 jobs.d.stdin.file: the path `../b` leads out of the run directory (`..`)
    ");
}

#[test]
fn sweeps_are_checked() {
    insta::assert_snapshot!(messages("
jobs:
  a: {for: {x: 3}, command: [x]}
  b: {for: {}, command: [x]}
  c: {for: {x: []}, command: [x]}
  d: {for: {x: {from: 1}}, command: [x]}
  e: {for: {x: {from: 1, to: 2.5}}, command: [x]}
  f: {for: {x: {from: 2, to: 1}}, command: [x]}
  g: {for: {x: {from: 1, to: 1000000}}, command: [x]}
  h: {for: {x: {from: 1, to: 1000}, y: {from: 1, to: 1000}}, command: [x]}
  i: {for: {a: [1]}, command: [x]}
  j: {for: [{x: 1}, {y: 1}], command: [x]}
  k: {for: {x: {from: 0, to: 1, step: 0.0}}, command: [x]}
  l: {for: {x: [1, 2], 2y: [1]}, command: [x], resources: {cpus: \"${x}x\"}}
"), @r#"
    3:16 jobs.a.for.x: a list of values is needed here, not the number 3 [for example [1, 2, 3] or {from: 1, to: 8}]
    4:12 jobs.b.for: this sweep has no parameters [for example: {x: [1, 2, 3]}]
    5:16 jobs.c.for.x: this list of values is empty
    6:16 jobs.d.for.x: the key `to` is missing
    7:16 jobs.e.for.x: a range of numbers needs `step` or `count`
    8:16 jobs.f.for.x: this range is empty or has more than 20000 values
    9:16 jobs.g.for.x: this range is empty or has more than 20000 values
    10:12 jobs.h.for: this sweep has more than the 20000 jobs that one flow may have
    11:12 jobs.i.for: `a` is the name of a job and cannot be the name of a parameter
    12:21 jobs.j.for[1]: every combination of a sweep needs the same parameters
    13:16 jobs.k.for.x: this range is empty or has more than 20000 values
    14:12 jobs.l.for: `2y` cannot be the name of a parameter
    14:66 jobs.l.resources.cpus: a whole number is needed here, not the text "1x"
    14:66 jobs.l.resources.cpus: a whole number is needed here, not the text "2x"
    "#);
}

#[test]
fn the_whole_file_is_checked() {
    insta::assert_snapshot!(messages(""), @"1:1 : the file is empty [see `jf submit --format-help` for what a flow file looks like]");
    insta::assert_snapshot!(messages("just text"), @r#"1:1 : a map is needed here, not the text "just text""#);
    insta::assert_snapshot!(messages("flow: x"), @"1:1 : the key `jobs` is missing");
    insta::assert_snapshot!(messages("jobs: {}"), @"1:7 jobs: there are no jobs");
    insta::assert_snapshot!(messages("jobs: [a]"), @"1:7 jobs: a map is needed here, not a list");
    insta::assert_snapshot!(messages("flow: [x]\nmetadata: 3\nworkers: 1\njobs: {a: {command: [x], priority: high, retries: {delay: 5}, on_missing: nothing, exec_config: e, modules: [m]}}"), @r#"
    1:7 flow: a text is needed here, not a list
    2:11 metadata: a map is needed here, not the number 3
    3:1 : the key `workers` is not known here [known are: flow, metadata, defaults, jobs]
    4:36 jobs.a.priority: a whole number is needed here, not the text "high"
    4:51 jobs.a.retries: the key `count` is missing
    4:59 jobs.a.retries.delay: `5` has no unit: write 5s, 5m or 5h
    4:75 jobs.a.on_missing: `nothing` is not known here [known are: error, none, pass]
    4:97 jobs.a.exec_config: `exec_config` excludes `modules`, `pre_run` and `post_run` [put them into the project's exec_config, or name none]
    "#);
}
