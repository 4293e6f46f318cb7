//! What the operating system says of this process: memory and processor time, from `/proc`.

fn status(field: &str) -> u64 {
    status_of("self", field)
}

fn status_of(process: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(field));
    line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The largest resident memory so far, in MiB; 0 where the system does not tell.
pub fn peak_rss_mib() -> u64 {
    status("VmHWM:") / 1024
}

/// The resident memory now, in MiB; 0 where the system does not tell.
pub fn rss_mib() -> u64 {
    status("VmRSS:") / 1024
}

/// The resident memory of another process now, in MiB; 0 where the system does not tell.
pub fn rss_mib_of(process: u32) -> u64 {
    status_of(&process.to_string(), "VmRSS:") / 1024
}

/// The largest that it had so far.
pub fn peak_rss_mib_of(process: u32) -> u64 {
    status_of(&process.to_string(), "VmHWM:") / 1024
}

/// Processor seconds of this process, user and system; 0 where the system does not tell.
pub fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name stands in brackets and may hold blanks; fields are counted behind it.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    // Linux reports in hundredths of a second on every platform this runs on.
    (ticks(11) + ticks(12)) as f64 / 100.0
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_system_tells_memory_and_time() {
        assert!(super::peak_rss_mib() >= super::rss_mib().min(1));
        assert!(super::rss_mib() > 0);
        let before = super::cpu_seconds();
        let mut x = 1u64;
        for i in 0..200_000_000u64 {
            x = std::hint::black_box(x.wrapping_mul(31).wrapping_add(i));
        }
        assert!(x != 0 && super::cpu_seconds() > before);
    }
}
