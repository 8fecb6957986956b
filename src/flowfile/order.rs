//! The order of a flow's jobs, parents before children.

use super::fault::{Fault, Faults};
use super::plan::JobPlan;

/// Returns the numbers of the jobs, parents before children and else in the order of the file; or nothing, when some
/// wait for each other in a circle, which is reported.
pub(super) fn order(jobs: &[JobPlan], faults: &mut Faults) -> Option<Vec<usize>> {
    let mut open_parents: Vec<usize> = jobs.iter().map(|job| job.parents.len()).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); jobs.len()];
    for (number, job) in jobs.iter().enumerate() {
        for parent in &job.parents {
            if let Some(children) = children.get_mut(*parent) {
                children.push(number);
            }
        }
    }
    let mut ready: std::collections::BTreeSet<usize> =
        open_parents.iter().enumerate().filter(|(_, count)| **count == 0).map(|(number, _)| number).collect();
    let mut order = Vec::with_capacity(jobs.len());
    while let Some(number) = ready.pop_first() {
        order.push(number);
        for child in children.get(number).into_iter().flatten() {
            if let Some(count) = open_parents.get_mut(*child) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(*child);
                }
            }
        }
    }
    if order.len() == jobs.len() {
        return Some(order);
    }
    let stuck = |number: &usize| open_parents.get(*number).is_some_and(|count| *count > 0);
    if let Some(start) = (0..jobs.len()).find(stuck) {
        report(jobs, &circle(jobs, start, stuck), faults);
    }
    None
}

/// Returns jobs that wait for each other: from any job that is stuck, going up leads into a circle.
fn circle(jobs: &[JobPlan], start: usize, stuck: impl Fn(&usize) -> bool) -> Vec<usize> {
    let mut walked: Vec<usize> = Vec::new();
    let mut number = start;
    loop {
        if let Some(place) = walked.iter().position(|known| *known == number) {
            return walked.split_off(place);
        }
        walked.push(number);
        let parents = jobs.get(number).map(|job| job.parents.as_slice()).unwrap_or_default();
        match parents.iter().copied().find(&stuck) {
            Some(parent) => number = parent,
            None => return walked,
        }
    }
}

fn report(jobs: &[JobPlan], circle: &[usize], faults: &mut Faults) {
    let name = |number: &usize| jobs.get(*number).map_or("?", |job| job.name.as_str());
    let Some((first, job)) = circle.first().and_then(|first| Some((first, jobs.get(*first)?))) else {
        return;
    };
    let names: Vec<&str> = circle.iter().chain([first]).map(name).collect();
    let message = format!("these jobs wait for each other: {}", names.join(" → "));
    let fault = Fault::at(job.span, format!("jobs.{}", job.group), message);
    faults.push(fault.hint("each waits for the one after the arrow"));
}
