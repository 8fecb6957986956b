//! What `sbatch` says: an id, or no, and whether no means "not now" or "never".

use super::super::{Printed, Submission};

/// A limit is reached or the service is away, and surely no job was made (`slurm/slurm_errno.c`, `sbatch(1)`).
const WAIT: &[&str] = &[
    "MaxSubmitJob",
    "Job violates accounting/QOS policy",
    "temporarily unable to accept job",
    "Resource temporarily unavailable",
    "MaxJobCount",
    "MaxArraySize",
    "Unable to contact slurm controller",
    "Could not establish a configuration source",
    "backup controller in standby mode",
    "Slurm controller in recovery mode",
    "Job submission rate limit",
    "Required partition not available",
    "Requested partition configuration not available now",
    "No space left on device",
    "Disk quota exceeded",
];

/// The request itself is at fault. `pecification` stands for `Invalid --time specification` and its like.
const NEVER: &[&str] = &[
    "Invalid partition name",
    "invalid partition specified",
    "Invalid account",
    "Invalid qos",
    "Invalid wckey",
    "Requested node configuration is not available",
    "Memory specification can not be satisfied",
    "Requested time limit is invalid",
    "Time limit specification",
    "Invalid generic resource",
    "More processors requested than permitted",
    "CPU count per node can not be satisfied",
    "Node count specification invalid",
    "Invalid node name",
    "Invalid feature specification",
    "Invalid license specification",
    "Invalid reservation",
    "Requested reservation",
    "User's group not permitted to use this partition",
    "Access/permission denied",
    "Invalid job array specification",
    "Job dependency problem",
    "pecification",
    "unrecognized option",
    "Invalid directive found",
    "Unable to open file",
    "is not on the PATH",
];

/// Returns what one `sbatch --parsable` came to.
pub(super) fn read_submission(printed: &Printed) -> Submission {
    let id = printed.stdout.lines().rev().find_map(id_in);
    let said = |table: &[&str]| table.iter().any(|text| printed.stderr.contains(text));
    match id {
        Some(id) if printed.exit_code == 0 => Submission::Accepted { id },
        // An exit code that contradicts the id, or success without one.
        Some(id) => Submission::Unclear {
            why: format!("it named the id {id} but ended with {}", printed.complaint()),
        },
        None if printed.exit_code == 0 => Submission::Unclear { why: "sbatch printed no id".to_owned() },
        // A job may have been made before the answer was lost.
        None if said(&["timed out", "Zero Bytes", "Unexpected message"]) => {
            Submission::Unclear { why: printed.complaint() }
        }
        None if said(WAIT) => Submission::Wait { why: printed.complaint() },
        None if said(NEVER) => Submission::Refused { why: refusal(printed) },
        None => Submission::Unclear { why: printed.complaint() },
    }
}

/// Returns the id in a line `123`, `123;cluster` or `Submitted batch job 123`.
fn id_in(line: &str) -> Option<String> {
    let line = line.trim();
    let text = line.strip_prefix("Submitted batch job ").unwrap_or(line);
    let id = text.split(';').next()?;
    let is_id = !id.is_empty() && id.len() <= 12 && id.bytes().all(|b| b.is_ascii_digit());
    is_id.then(|| id.to_owned())
}

/// Returns all that sbatch complained of, without its prefix.
fn refusal(printed: &Printed) -> String {
    let lines = printed.stderr.lines().filter(|line| !line.trim().is_empty());
    let said: Vec<&str> = lines.map(|line| line.strip_prefix("sbatch: error: ").unwrap_or(line)).collect();
    said.join("; ").chars().take(1000).collect()
}
