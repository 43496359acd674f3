//! `Server-Timing` of functions' answers.

use dockless_pool::{Start, Timings};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Says where the time went until the first byte: `queue;dur=0.1, thaw;dur=0.4, run;dur=12.0` (milliseconds). What the
/// function says itself stays beside it.
pub(crate) fn tell(headers: &mut HeaderMap, timings: &Timings, run: Duration) {
    if let Ok(value) = HeaderValue::from_str(&text(timings, run)) {
        headers.append(SERVER_TIMING, value);
    }
}

fn text(timings: &Timings, run: Duration) -> String {
    let ms = |duration: Duration| format!("{:.2}", duration.as_secs_f64() * 1000.0);
    let start = match &timings.start {
        Start::Warm => "warm;dur=0".to_owned(),
        Start::Thaw(took) => format!("thaw;dur={}", ms(*took)),
        Start::Boot { shelf, took } => {
            format!("boot;dur={};desc=\"{}\"", ms(*took), if *shelf { "shelf" } else { "new" })
        }
    };
    format!("queue;dur={}, {start}, run;dur={}", ms(timings.queue), ms(run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_an_instance_has_its_word() {
        let ms = Duration::from_millis;
        for (start, expected) in [
            (Start::Warm, "warm;dur=0"),
            (Start::Thaw(Duration::from_micros(420)), "thaw;dur=0.42"),
            (Start::Boot { shelf: true, took: ms(9) }, "boot;dur=9.00;desc=\"shelf\""),
            (Start::Boot { shelf: false, took: ms(60) }, "boot;dur=60.00;desc=\"new\""),
        ] {
            let timings = Timings { queue: Duration::from_micros(1500), start };
            assert_eq!(text(&timings, ms(12)), format!("queue;dur=1.50, {expected}, run;dur=12.00"));
        }
    }
}
