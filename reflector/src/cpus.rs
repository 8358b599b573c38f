//! Which processor each worker is pinned to.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::args::CpuList;
use crate::error::Error;

/// One processor per worker, taken in turn from `asked` or from all that are allowed.
///
/// # Errors
///
/// `asked` names a processor that this process may not run on.
pub fn plan(asked: Option<&CpuList>, workers: u32) -> Result<Vec<usize>, Error> {
    let allowed = allowed().map_err(Error::system("reading the processor affinity"))?;
    let list = match asked {
        Some(CpuList(asked)) => {
            if let Some(&cpu) = asked.iter().find(|cpu| !allowed.contains(cpu)) {
                return Err(Error::CpuNotAllowed { cpu, allowed });
            }
            asked.clone()
        }
        None => allowed,
    };
    Ok(list.into_iter().cycle().take(workers as usize).collect())
}

/// Pins the calling thread.
///
/// # Errors
///
/// The processor went offline, or a cpuset forbids it by now.
pub fn pin(cpu: usize) -> io::Result<()> {
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
    fn workers_take_processors_in_turn() {
        let allowed = allowed().unwrap();
        let plan = plan(None, 3).unwrap();
        assert_eq!(plan.len(), 3);
        assert_eq!(plan[0], allowed[0]);
        assert_eq!(plan[1], allowed[1 % allowed.len()]);
    }

    #[test]
    fn refuses_processors_it_may_not_use() {
        let error = plan(Some(&CpuList(vec![1023])), 1).unwrap_err();
        assert_eq!(error.exit_status(), 2);
    }
}
