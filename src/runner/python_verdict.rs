//! What the files of an ended Python job say (jobflow-remote 1.0, `jobs/jobcontroller.py`, `complete_job`).
//!
//! A Python job is judged by what it reports: jobflow-remote's own program ends with exit code 0 whatever happened. Only
//! where there is no report, the exit code and the scheduler tell how it ended.

use std::borrow::Cow;
use std::io::Read as _;

use bson::Document;

use super::results::{Packing, PythonFiles};
use super::verdict::{
    Files, OUTPUT_LIMIT_BYTES, Responded, Times, Verdict, exit_text, failed, killed_text, outcome, times,
};
use crate::jobflow::response::{JobReport, ReportedEnd, Response};
use crate::jobflow::stored_output::{read_blobs, read_output};
use crate::model::job::JobRecord;
use crate::store::{BlobDocument, OutputDocument};
use crate::worker::end_marker::End;
use crate::worker::layout;

/// What is unpacked of a packed file: more is a mistake, or meant to fill the memory.
const UNPACKED_LIMIT_BYTES: u64 = 1024 * 1024 * 1024;

/// Returns what the files say about the job. `end` is its end marker, if there is a usable one.
pub(super) fn judge(files: &Files<'_>, job: &JobRecord, python: &PythonFiles, end: Option<&End>) -> Verdict {
    let Some(text) = files.content(layout::PYTHON_RESULT) else {
        let how = how_it_ended(files, job, end);
        return failed(files, job, end, &format!("it left no {}: {how}", layout::PYTHON_RESULT));
    };
    let report = match JobReport::read(text) {
        Ok(report) => report,
        Err(error) => {
            let why = format!("its {} cannot be read: {error}", layout::PYTHON_RESULT);
            return failed(files, job, end, &why);
        }
    };
    match &report.end {
        ReportedEnd::Failed(error) => raised(files, job, end, &report, error),
        ReportedEnd::Killed => {
            // The first two sentences are those of jobflow-remote.
            let why = format!(
                "The output file {} was downloaded, but it does not contain the response. The job was likely killed \
                 before completing: {}",
                layout::PYTHON_RESULT,
                how_it_ended(files, job, end)
            );
            timed(failed(files, job, end, &why), &report, end)
        }
        ReportedEnd::Responded(response) => match responded(files, job, python, response) {
            Ok((output, response)) => Verdict::Completed {
                output,
                kept: Vec::new(),
                times: times_of(&report, end),
                outcome: outcome(files, job, end),
                response: Box::new(response),
            },
            Err(why) => timed(failed(files, job, end, &why), &report, end),
        },
    }
}

fn how_it_ended(files: &Files<'_>, job: &JobRecord, end: Option<&End>) -> String {
    match end {
        Some(end) => {
            format!("it {}; see its {} and {}", exit_text(end), layout::QUEUE_OUT, layout::QUEUE_ERR)
        }
        None => killed_text(files, job),
    }
}

fn times_of(report: &JobReport, end: Option<&End>) -> Times {
    let marked = end.map(times).unwrap_or_default();
    Times { started: report.start_time.or(marked.started), ended: report.end_time.or(marked.ended) }
}

fn timed(verdict: Verdict, report: &JobReport, end: Option<&End>) -> Verdict {
    match verdict {
        Verdict::Failed { why, error, outcome, retries, logs, .. } => {
            Verdict::Failed { why, error, times: times_of(report, end), outcome, retries, logs }
        }
        completed @ Verdict::Completed { .. } => completed,
    }
}

/// The whole traceback is kept; the history tells its last line.
fn raised(files: &Files<'_>, job: &JobRecord, end: Option<&End>, report: &JobReport, error: &str) -> Verdict {
    let last = error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("an error without a text");
    match timed(failed(files, job, end, last), report, end) {
        Verdict::Failed { why, times, outcome, retries, logs, .. } => {
            Verdict::Failed { why, error: error.to_owned(), times, outcome, retries, logs }
        }
        completed @ Verdict::Completed { .. } => completed,
    }
}

fn responded(
    files: &Files<'_>,
    job: &JobRecord,
    python: &PythonFiles,
    response: &Response,
) -> Result<(OutputDocument, Responded), String> {
    let text = unpacked(files, python, &python.output)?;
    let unusable = |file: &str, why: &dyn std::fmt::Display| format!("its {file} cannot be used: {why}");
    let stored = read_output(&text, &job.key, &job.db_id);
    let stored = stored.map_err(|error| unusable(&python.output, &error))?;
    let mut blobs = Vec::new();
    for (store, file) in &python.additional {
        let text = unpacked(files, python, file)?;
        let read = read_blobs(&text).map_err(|error| unusable(file, &error))?;
        blobs.extend(read.into_iter().map(|blob| {
            let blob = BlobDocument { blob_uuid: blob.blob_uuid, job: blob.job, document: blob.document };
            (store.clone(), blob)
        }));
    }
    if let Some((_, blob)) = blobs.iter().find(|(_, blob)| blob.job != job.key) {
        return Err(format!("a part of its output says that it belongs to the job {}", blob.job));
    }
    let growth = response.growth(job).map_err(|error| error.to_string())?;
    let stored_data = response.stored_data().cloned();
    let new = growth.jobs.iter().map(|new| (format!("the new job {}", new.key), &new.job));
    let kept = stored_data.iter().map(|data| ("its stored_data".to_owned(), data));
    let output = std::iter::once(("its output".to_owned(), &stored));
    output.chain(kept).chain(new).try_for_each(|(what, document)| fits(&what, document))?;
    let output = OutputDocument { key: job.key.clone(), document: stored };
    Ok((output, Responded { growth, stored_data, blobs }))
}

fn fits(what: &str, document: &Document) -> Result<(), String> {
    let size_bytes = bson::serialize_to_vec(document).map_or(usize::MAX, |bytes| bytes.len());
    if size_bytes <= OUTPUT_LIMIT_BYTES {
        return Ok(());
    }
    Err(format!(
        "{what} has {size_bytes} bytes, more than the {OUTPUT_LIMIT_BYTES} that a document may have: put large values \
         into an additional store (`@job(data=\"key\")`)"
    ))
}

fn unpacked<'a>(files: &Files<'a>, python: &PythonFiles, file: &str) -> Result<Cow<'a, [u8]>, String> {
    let Some(content) = files.content(file) else {
        return Err(match files.too_large(file) {
            Some(size_bytes) => format!("its {file} has {size_bytes} bytes, too many to be read"),
            // In the words of jobflow-remote.
            None => format!(
                "No explicit error raised during the remote execution, but the output store file {file} is missing. \
                 The file was probably not created in the remote folder during the execution but is needed to proceed."
            ),
        });
    };
    match python.packing {
        Packing::Plain => Ok(Cow::Borrowed(content)),
        Packing::Gzip => {
            let mut text = Vec::new();
            let unpacked =
                flate2::read::MultiGzDecoder::new(content).take(UNPACKED_LIMIT_BYTES).read_to_end(&mut text);
            unpacked.map_err(|error| format!("its {file} cannot be unpacked: {error}"))?;
            Ok(Cow::Owned(text))
        }
    }
}
