//! Processor time of this process.

use crate::error::{Error, Result};

/// Ticks of a second in `/proc`: the kernel fixes it at 100 for programs.
const TICKS: f64 = 100.0;

/// Seconds of processor time that all threads of this process have used so far, in the kernel and outside.
pub fn cpu_seconds() -> Result<f64> {
    let fault = || Error::failed("the processor time cannot be read from /proc/self/stat");
    let stat = std::fs::read_to_string("/proc/self/stat").map_err(|e| fault().because(e))?;
    // The name may hold anything; numbers begin behind its bracket. User and system time are fields 14 and 15.
    let numbers = stat.rsplit_once(')').ok_or_else(fault)?.1;
    let mut fields = numbers.split_whitespace().skip(11).map(|field| field.parse::<f64>());
    match (fields.next(), fields.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) / TICKS),
        _ => Err(fault()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn work_takes_processor_time() {
        let before = super::cpu_seconds().unwrap();
        let begun = std::time::Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed().as_millis() < 60 {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        assert!(super::cpu_seconds().unwrap() > before, "{sum}");
    }
}
