//! Rules: what applies to requests besides the origin of their answer.

/// The rules of requests. Each is `None` where it is not configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The largest body of a request to the app or to an upstream, in bytes.
    pub max_body_size: Option<u64>,
    /// Which responses are compressed, and how.
    pub compression: hcrs_coding::Settings,
}

impl Rules {
    /// Returns these rules, and those of `others` where these have none.
    #[must_use]
    pub fn before(&self, others: &Rules) -> Rules {
        let Self { max_body_size, compression } = self.clone();
        Rules {
            max_body_size: max_body_size.or(others.max_body_size),
            compression: compression.before(&others.compression),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_a_route_stand_before_those_of_all_requests() {
        let (of_all, none) = (Rules { max_body_size: Some(1), ..Rules::default() }, Rules::default());
        let own = Rules { max_body_size: Some(0), ..Rules::default() };
        assert_eq!([own.before(&of_all), none.before(&of_all)], [own, of_all]);
    }
}
