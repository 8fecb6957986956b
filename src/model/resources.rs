//! What a job asks of its worker's scheduler, in one vocabulary.
//!
//! Documents in three vocabularies are read ([`Resources::from_document`]): ours, qtoolkit's serialized `QResources`, and
//! the raw keys of jobflow-remote's header templates (`ntasks`, `mem`, `qverbatim`, …), which stay as they are for the
//! scheduler to judge. They may be mixed.

mod qresources;

use bson::{Bson, Document};

/// Resources in the words of the field; what is not set is left to the worker's scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    pub nodes: Option<u32>,
    /// Tasks (processes) in all.
    pub tasks: Option<u32>,
    pub tasks_per_node: Option<u32>,
    pub cpus_per_task: Option<u32>,
    /// Memory of each node, in bytes.
    pub memory_per_node_bytes: Option<u64>,
    /// Memory of each cpu, in bytes.
    pub memory_per_cpu_bytes: Option<u64>,
    pub gpus: Option<u32>,
    pub gpu_type: Option<String>,
    pub walltime_seconds: Option<u64>,
    pub partition: Option<String>,
    pub account: Option<String>,
    pub qos: Option<String>,
    /// Raw keys of jobflow-remote's header templates (`ntasks`, `qverbatim`, …), which win over the fields above.
    pub template: Document,
}

/// Keys that only header templates have. A document with one of them is in the templates' words: a bare number as
/// `time` is then the template's and not ours.
const TEMPLATE_ONLY: &[&str] = &[
    "ntasks",
    "ntasks_per_node",
    "mem",
    "mem_per_cpu",
    "gres",
    "gpus_per_node",
    "qverbatim",
    "walltime",
    "select",
];

impl Resources {
    /// Returns the resources that `document` asks for, or every fault in it, in words for people.
    ///
    /// Our words: `nodes`, `tasks`, `tasks_per_node`, `cpus_per_task` (or `cpus`), `memory` and `memory_per_cpu` (bytes, or
    /// text like `2GB`), `gpus`, `gpu_type`, `time` (seconds, or text like `30m`, `1-12:00:00`), `partition`, `account`,
    /// `qos`. Nulls count as not set. Other keys are kept as template keys. `nodes`, `gpus` and `time` are words of the
    /// templates too: text that is no value of ours (`2-4`, `UNLIMITED`) is kept for the template.
    pub fn from_document(document: &Document) -> Result<Self, Vec<String>> {
        if qresources::is_qresources(document) {
            return qresources::read(document);
        }
        let mut reader = Reader { resources: Self::default(), faults: Vec::new(), in_template_words: false };
        reader.in_template_words = document.keys().any(|key| TEMPLATE_ONLY.contains(&key.as_str()));
        for (key, value) in
            document.iter().filter(|(key, value)| !key.starts_with('@') && **value != Bson::Null)
        {
            reader.take(key, value);
        }
        if reader.faults.is_empty() { Ok(reader.resources) } else { Err(reader.faults) }
    }

    /// Returns a document in our vocabulary that [`Resources::from_document`] reads back as the same resources.
    pub fn to_document(&self) -> Document {
        let mut document = Document::new();
        let numbers = [
            ("nodes", self.nodes.map(i64::from)),
            ("tasks", self.tasks.map(i64::from)),
            ("tasks_per_node", self.tasks_per_node.map(i64::from)),
            ("cpus_per_task", self.cpus_per_task.map(i64::from)),
            ("memory", self.memory_per_node_bytes.and_then(|bytes| i64::try_from(bytes).ok())),
            ("memory_per_cpu", self.memory_per_cpu_bytes.and_then(|bytes| i64::try_from(bytes).ok())),
            ("gpus", self.gpus.map(i64::from)),
        ];
        for (key, number) in numbers {
            if let Some(number) = number {
                document.insert(key, number);
            }
        }
        // With its unit: a bare number beside template keys would be the template's.
        let time = self.walltime_seconds.map(|seconds| format!("{seconds}s"));
        let texts = [
            ("gpu_type", &self.gpu_type),
            ("time", &time),
            ("partition", &self.partition),
            ("account", &self.account),
            ("qos", &self.qos),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                document.insert(key, text);
            }
        }
        document.extend(self.template.clone());
        document
    }
}

struct Reader {
    resources: Resources,
    faults: Vec<String>,
    in_template_words: bool,
}

impl Reader {
    fn take(&mut self, key: &str, value: &Bson) {
        let resources = &mut self.resources;
        let count = || count(key, value);
        let text = || text(key, value);
        let taken = match key {
            "nodes" => dual(&mut resources.nodes, count(), &mut resources.template, key, value),
            "gpus" => dual(&mut resources.gpus, count(), &mut resources.template, key, value),
            "time" if self.in_template_words && is_bare_number(value) => {
                resources.template.insert(key, value);
                Ok(())
            }
            "time" => {
                dual(&mut resources.walltime_seconds, seconds(value), &mut resources.template, key, value)
            }
            "tasks" => set(&mut resources.tasks, count()),
            "tasks_per_node" => set(&mut resources.tasks_per_node, count()),
            "cpus_per_task" | "cpus" if resources.cpus_per_task.is_some() => {
                Err("cpus and cpus_per_task are the same: give one of them".to_owned())
            }
            "cpus_per_task" | "cpus" => set(&mut resources.cpus_per_task, count()),
            "memory" => set(&mut resources.memory_per_node_bytes, bytes(key, value)),
            "memory_per_cpu" => set(&mut resources.memory_per_cpu_bytes, bytes(key, value)),
            "gpu_type" => set(&mut resources.gpu_type, text()),
            "partition" => set(&mut resources.partition, text()),
            "account" => set(&mut resources.account, text()),
            "qos" => set(&mut resources.qos, text()),
            _ => {
                resources.template.insert(key, value);
                Ok(())
            }
        };
        self.faults.extend(taken.err());
    }
}

fn set<T>(place: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *place = Some(value?);
    Ok(())
}

/// Sets a field whose name is a template key too: text that is no value of ours goes to the template.
fn dual<T>(
    place: &mut Option<T>,
    read: Result<T, String>,
    template: &mut Document,
    key: &str,
    value: &Bson,
) -> Result<(), String> {
    match (read, value) {
        (Ok(read), _) => *place = Some(read),
        (Err(_), Bson::String(text)) if !text.trim().is_empty() && !is_bare_number(value) => {
            template.insert(key, text);
        }
        (Err(fault), _) => return Err(fault),
    }
    Ok(())
}

fn is_bare_number(value: &Bson) -> bool {
    match value {
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) => true,
        Bson::String(text) => !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()),
        _ => false,
    }
}

/// Returns a whole number of at least 0; databases and YAML give them as several types.
fn whole(value: &Bson) -> Option<u64> {
    match value {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        // Exact up to 2^53, far beyond any resource but bytes, which are given as integers.
        Bson::Double(number) if *number >= 0.0 && number.fract() == 0.0 && *number < 9.0e15 => {
            Some(*number as u64)
        }
        Bson::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn count(key: &str, value: &Bson) -> Result<u32, String> {
    whole(value)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number > 0 || key == "gpus")
        .ok_or_else(|| format!("{key} must be a whole number of at least 1, not {value}"))
}

fn text(key: &str, value: &Bson) -> Result<String, String> {
    match value {
        Bson::String(text) if !text.trim().is_empty() && !text.contains(['\n', '\0']) => {
            Ok(text.trim().to_owned())
        }
        Bson::Int32(_) | Bson::Int64(_) => Ok(value.to_string()),
        _ => Err(format!("{key} must be one line of text, not {value}")),
    }
}

fn bytes(key: &str, value: &Bson) -> Result<u64, String> {
    let read = match value {
        Bson::String(text) => parse_bytes(text),
        other => whole(other),
    };
    read.filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("{key} must be a number of bytes or text like 2GB or 500MB, not {value}"))
}

/// Returns the bytes that `text` says: a number, and K, M, G or T with an optional `B` or `iB`. All units are powers of
/// 1024, as schedulers count.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let factor = 1024_u64.pow(power);
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(factor),
        Some(_) => {
            let bytes = number.parse::<f64>().ok()? * factor as f64;
            (bytes < 9.0e15).then_some(bytes.ceil() as u64)
        }
    }
}

fn seconds(value: &Bson) -> Result<u64, String> {
    let read = match value {
        Bson::String(text) => parse_seconds(text),
        other => whole(other),
    };
    read.filter(|seconds| *seconds > 0).ok_or_else(|| {
        format!("time must be a number of seconds or text like 90s, 30m, 2h30m, 1-12:00:00, not {value}")
    })
}

/// Returns the seconds that `text` says: `2h30m`, `90s`, `1d`, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM`, `D-HH:MM:SS`.
///
/// Digits alone are refused: some schedulers take them as minutes, others as seconds.
pub fn parse_seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.split_once('-') {
        Some((days, clock)) => {
            let fields = clock_fields(clock)?;
            let [hours, minutes, seconds] = match *fields.as_slice() {
                [hours] => [hours, 0, 0],
                [hours, minutes] => [hours, minutes, 0],
                [hours, minutes, seconds] => [hours, minutes, seconds],
                _ => return None,
            };
            total(days.parse().ok()?, hours, minutes, seconds)
        }
        None if text.contains(':') => match *clock_fields(text)?.as_slice() {
            [minutes, seconds] => total(0, 0, minutes, seconds),
            [hours, minutes, seconds] => total(0, hours, minutes, seconds),
            _ => None,
        },
        None => units(text),
    }
}

fn clock_fields(text: &str) -> Option<Vec<u64>> {
    text.split(':').map(|field| field.parse().ok()).collect()
}

fn total(days: u64, hours: u64, minutes: u64, seconds: u64) -> Option<u64> {
    let hours = days.checked_mul(24)?.checked_add(hours)?;
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    minutes.checked_mul(60)?.checked_add(seconds)
}

fn units(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(digits)?;
        let unit = after.chars().next()?;
        let factor = match unit.to_ascii_lowercase() {
            'd' => 86_400,
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        sum = number.parse::<u64>().ok()?.checked_mul(factor).and_then(|part| sum.checked_add(part))?;
        rest = after.get(1..)?.trim_start();
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests;
