//! Which processor each worker is pinned to.

use std::collections::BTreeSet;
use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tracing::warn;

use crate::args::CpuList;
use crate::error::Error;

/// Processors for the workers of one interface, in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus {
    list: Vec<usize>,
    /// Place in the list of the first worker.
    first: usize,
    workers: u32,
}

impl Cpus {
    /// Deals processors to workers in turn, from `asked` or from all that are allowed: so many workers on
    /// each interface. The next interface goes on where the one before ended.
    ///
    /// # Errors
    ///
    /// `asked` names a processor that this process may not run on.
    pub fn plan(asked: Option<&CpuList>, workers: &[u32]) -> Result<Vec<Self>, Error> {
        let list = chosen(asked)?;
        let mut first = 0;
        let mut plans = Vec::with_capacity(workers.len());
        for &workers in workers {
            plans.push(Self {
                list: list.clone(),
                first,
                workers,
            });
            first += workers as usize;
        }
        Ok(plans)
    }

    /// The processor of a worker.
    pub fn of(&self, worker: u32) -> usize {
        let place = self.first + worker as usize;
        // Never empty: a process may run somewhere.
        self.list
            .get(place % self.list.len().max(1))
            .copied()
            .unwrap_or(0)
    }

    /// Whether two of these workers, or of others planned with them, share a processor.
    pub fn are_shared(plans: &[Self]) -> bool {
        let mut used = BTreeSet::new();
        let mut workers = plans
            .iter()
            .flat_map(|plan| (0..plan.workers).map(|worker| plan.of(worker)));
        !workers.all(|cpu| used.insert(cpu))
    }
}

/// The processors to use, in the order given.
///
/// # Errors
///
/// `asked` names a processor that this process may not run on.
pub fn chosen(asked: Option<&CpuList>) -> Result<Vec<usize>, Error> {
    let allowed = allowed().map_err(Error::system("reading the processor affinity"))?;
    match asked {
        Some(CpuList(asked)) => match asked.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(&cpu) => Err(Error::CpuNotAllowed { cpu, allowed }),
            None => Ok(asked.clone()),
        },
        None => Ok(allowed),
    }
}

/// Pins the calling worker, or warns: the processor went offline, or a cpuset forbids it by now.
pub fn pin_or_warn(cpu: usize) {
    if let Err(error) = pin(cpu) {
        warn!("cannot pin a worker to processor {cpu} ({error}): the kernel chooses");
    }
}

fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_take_processors_in_turn_from_one_interface_to_the_next() {
        let allowed = allowed().unwrap();
        let plans = Cpus::plan(None, &[1, 2]).unwrap();
        let taken = [plans[0].of(0), plans[1].of(0), plans[1].of(1)];
        let turns: Vec<_> = allowed.iter().copied().cycle().take(3).collect();
        assert_eq!(taken[..], turns);
        assert_eq!(Cpus::are_shared(&plans), allowed.len() < 3);
    }

    #[test]
    fn refuses_processors_it_may_not_use() {
        let error = Cpus::plan(Some(&CpuList(vec![1023])), &[1]).unwrap_err();
        assert_eq!(error.exit_status(), 2);
    }
}
