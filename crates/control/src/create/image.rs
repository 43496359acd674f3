//! `image`, `slot`, `limits` and `egress` of a creation.

use super::fields::Fields;
use crate::Error;
use dockless_model::image::ImageWish;
use dockless_model::{ServiceLimits, ServiceRules, Slot};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Longest name of an image: a host, a repository, a tag and a digest at their bounds.
const MAX_REFERENCE: usize = 1024;

/// Takes them out; slot, limits and egress mean something with an image alone.
pub(super) fn read(fields: &mut Fields, rules: &ServiceRules) -> Result<Option<ImageWish>, Error> {
    let egress = fields.flag("egress")?;
    let Some(reference) = fields.text("image")? else {
        // Passed over it would be a promise that nobody keeps.
        let why = "goes with an image; a folder says so in its vercel.json or now.json";
        return if egress.is_some() { Err(Error::field("egress", why)) } else { Ok(None) };
    };
    if reference.len() > MAX_REFERENCE {
        return Err(Error::field("image", format!("expected at most {MAX_REFERENCE} characters")));
    }
    let slot = fields.text("slot")?.map(|slot| rules.slot(&slot).map_err(Error::parse("slot"))).transpose()?;
    let mut limits = ServiceLimits::default();
    if let Some(mut wanted) = fields.object("limits")? {
        if let Some(concurrency) = bounded(&mut wanted, "maxConcurrentReqs", rules.concurrencies(), "requests")? {
            limits.concurrency = concurrency;
        }
        if let Some(duration) = bounded(&mut wanted, "duration", rules.durations_ms(), "milliseconds")? {
            limits.duration_ms = duration;
        }
        if let Some(timeout) = bounded(&mut wanted, "timeout", rules.timeouts_ms(), "milliseconds")? {
            limits.idle_timeout_ms = timeout;
        }
        wanted.end()?;
    }
    let egress = egress.unwrap_or(true);
    Ok(Some(ImageWish { reference, slot: slot.unwrap_or_else(Slot::default), limits, egress }))
}

fn bounded<T>(fields: &mut Fields, key: &str, range: RangeInclusive<T>, unit: &str) -> Result<Option<T>, Error>
where
    T: TryFrom<u64> + PartialOrd + Display,
{
    let Some(number) = fields.number(key)? else { return Ok(None) };
    match T::try_from(number).ok().filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => {
            let (least, most) = (range.start(), range.end());
            Err(Error::field(fields.name(key), format!("expected {least} to {most} {unit}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn wish(value: Value) -> Result<Option<ImageWish>, Error> {
        wish_under(value, &ServiceRules::default())
    }

    fn wish_under(value: Value, rules: &ServiceRules) -> Result<Option<ImageWish>, Error> {
        let mut fields = Fields::new("", value)?;
        let wish = read(&mut fields, rules)?;
        fields.end()?;
        Ok(wish)
    }

    #[test]
    fn an_operator_moves_the_bounds_and_names_slots() {
        let rules = ServiceRules {
            least_duration_ms: 2000,
            least_timeout_ms: 1000,
            most_concurrency: 1000,
            slots: [("big".to_owned(), "c2-m8192".parse().unwrap())].into(),
        };
        let value = json!({ "image": "a", "slot": "big",
            "limits": { "maxConcurrentReqs": 1000, "duration": 2000, "timeout": 1000 } });
        let full = wish_under(value, &rules).unwrap().unwrap();
        assert_eq!((full.slot.memory_mib(), full.limits.concurrency), (8192, 1000));
        assert_eq!((full.limits.duration_ms, full.limits.idle_timeout_ms), (2000, 1000));
        for (limits, words) in [
            (json!({ "duration": 1999 }), "2000 to 1800000"),
            (json!({ "timeout": 999 }), "1000 to 1800000"),
            (json!({ "maxConcurrentReqs": 1001 }), "1 to 1000"),
        ] {
            let refused = wish_under(json!({ "image": "a", "limits": limits }), &rules);
            assert!(refused.unwrap_err().to_string().contains(words), "{words}");
        }
    }

    #[test]
    fn an_image_has_slot_and_limits_within_bounds() {
        let bare = wish(json!({ "image": "nginx" })).unwrap().unwrap();
        assert_eq!(
            (bare.reference.as_str(), bare.slot, bare.limits, bare.egress),
            ("nginx", Slot::default(), ServiceLimits::default(), true)
        );
        assert!(!wish(json!({ "image": "nginx", "egress": false })).unwrap().unwrap().egress);
        let full = json!({ "image": "a", "slot": "c1-m4096",
            "limits": { "maxConcurrentReqs": 256, "duration": 1_800_000, "timeout": 60_000 } });
        let full = wish(full).unwrap().unwrap();
        assert_eq!((full.slot.memory_mib(), full.limits.concurrency), (4096, 256));
        assert_eq!((full.limits.duration_ms, full.limits.idle_timeout_ms), (1_800_000, 60_000));
        assert!(wish(json!({})).unwrap().is_none());
        for (value, field) in [
            (json!({ "image": 1 }), "image"),
            (json!({ "image": "x".repeat(2000) }), "image"),
            (json!({ "image": "a", "slot": "big" }), "slot"),
            (json!({ "image": "a", "limits": { "maxConcurrentReqs": 257 } }), "limits.maxConcurrentReqs"),
            (json!({ "image": "a", "limits": { "maxConcurrentReqs": 0 } }), "limits.maxConcurrentReqs"),
            (json!({ "image": "a", "limits": { "duration": 1_000 } }), "limits.duration"),
            (json!({ "image": "a", "limits": { "timeout": 1_800_001 } }), "limits.timeout"),
            (json!({ "image": "a", "limits": { "memory": 5 } }), "limits.memory"),
            (json!({ "image": "a", "egress": "off" }), "egress"),
            (json!({ "egress": false }), "egress"),
            (json!({ "slot": "c1-m4096" }), "slot"),
            (json!({ "limits": { "timeout": 60_000 } }), "limits"),
        ] {
            match wish(value.clone()) {
                Err(Error::Invalid(invalid)) => assert_eq!(invalid.field.as_deref(), Some(field), "{value}"),
                other => panic!("{value}: {other:?}"),
            }
        }
    }
}
