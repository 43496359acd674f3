//! Counted groups: caps that hold even while two servers are alive.

use dockless_sandbox::protocol::GroupCap;
use std::collections::HashMap;

/// How many sandboxes each group has.
#[derive(Debug, Default)]
pub struct Groups {
    counts: HashMap<String, u32>,
}

impl Groups {
    /// Joins all groups or none.
    ///
    /// # Errors
    /// The name of the first full one.
    pub fn join(&mut self, caps: &[GroupCap]) -> Result<(), String> {
        for (index, cap) in caps.iter().enumerate() {
            let twice = caps[..index].iter().any(|earlier| earlier.name == cap.name);
            if twice || self.counts.get(&cap.name).copied().unwrap_or(0) >= cap.max {
                return Err(cap.name.clone());
            }
        }
        for cap in caps {
            *self.counts.entry(cap.name.clone()).or_default() += 1;
        }
        Ok(())
    }

    /// Leaves groups that were joined.
    pub fn leave(&mut self, caps: &[GroupCap]) {
        for cap in caps {
            if let Some(count) = self.counts.get_mut(&cap.name) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&cap.name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_group_refuses_and_joining_is_all_or_nothing() {
        let cap = |name: &str, max| GroupCap { name: name.into(), max };
        let mut groups = Groups::default();
        groups.join(&[cap("account", 2), cap("function", 1)]).unwrap();
        assert_eq!(groups.join(&[cap("account", 2), cap("function", 1)]), Err("function".into()));
        groups.join(&[cap("account", 2)]).unwrap();
        assert_eq!(groups.join(&[cap("account", 2)]), Err("account".into()));
        groups.leave(&[cap("account", 2), cap("function", 1)]);
        groups.join(&[cap("account", 2), cap("function", 1)]).unwrap();
        groups.leave(&[cap("account", 2), cap("function", 1)]);
        groups.leave(&[cap("account", 2)]);
        assert!(groups.counts.is_empty());
    }
}
