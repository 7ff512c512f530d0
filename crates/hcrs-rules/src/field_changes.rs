//! Changes of the fields of responses.

use hcrs_http::{ResponseHead, is_connection_specific, is_field_name, is_field_value};

/// The changes of the fields of each response: first some are removed, then some are set, then some are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldChanges {
    /// The names of fields that are removed.
    remove: Option<Vec<String>>,
    /// Fields that replace those of the same name.
    set: Option<Vec<(String, String)>>,
    /// Fields that are added to those of the same name.
    add: Option<Vec<(String, String)>>,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldChange {
    /// The field is removed.
    Remove,
    /// The field replaces those of its name.
    Set,
    /// The field is added to those of its name.
    Add,
}

/// The reason why a field cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldMistake {
    /// The name is no field name.
    #[error("expected the name of a response field")]
    Name,
    /// The value is no field value.
    #[error("expected the value of a response field: visible characters, with blanks between them")]
    Value,
    /// The field belongs to the connection or frames the message.
    #[error("the server frames responses itself, so that this field cannot be changed")]
    Framing,
    /// The field is one that the server adds.
    #[error("include_date_header decides about this field")]
    Date,
    /// The field is one that the server adds, and can be set.
    #[error("the server adds this field; include_server_header = false leaves it out")]
    Server,
}

impl FieldChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_none() && self.set.is_none() && self.add.is_none()
    }

    /// Returns these changes, and of each kind that these have none of, those of `others`.
    #[must_use]
    pub fn before(&self, others: &Self) -> Self {
        Self {
            remove: self.remove.clone().or_else(|| others.remove.clone()),
            set: self.set.clone().or_else(|| others.set.clone()),
            add: self.add.clone().or_else(|| others.add.clone()),
        }
    }

    /// Includes that fields of a kind may be changed, even if none is.
    pub fn begin(&mut self, change: FieldChange) {
        match change {
            FieldChange::Remove => {
                self.remove.get_or_insert_default();
            }
            FieldChange::Set => {
                self.set.get_or_insert_default();
            }
            FieldChange::Add => {
                self.add.get_or_insert_default();
            }
        }
    }

    /// Includes a change. The value is empty for a field that is removed.
    pub fn include(&mut self, change: FieldChange, name: &str, value: &str) -> Result<(), FieldMistake> {
        let name = name.to_ascii_lowercase();
        check_name(change, &name)?;
        if !is_field_value(value.as_bytes()) || value.trim() != value {
            return Err(FieldMistake::Value);
        }
        match change {
            FieldChange::Remove => self.remove.get_or_insert_default().push(name),
            FieldChange::Set => self.set.get_or_insert_default().push((name, value.to_owned())),
            FieldChange::Add => self.add.get_or_insert_default().push((name, value.to_owned())),
        }
        Ok(())
    }

    /// Returns the head with the changes, and with the fields in `more`, which replace those of the same name.
    #[must_use]
    pub fn apply(&self, head: &ResponseHead, more: &[(&str, &str)]) -> ResponseHead {
        let (remove, set, add) = (self.remove.as_deref(), self.set.as_deref(), self.add.as_deref());
        let (remove, set, add) =
            (remove.unwrap_or_default(), set.unwrap_or_default(), add.unwrap_or_default());
        let is_kept = |(name, _): &(&[u8], &[u8])| {
            let is_same = |other: &str| other.as_bytes().eq_ignore_ascii_case(name);
            !remove.iter().any(|other| is_same(other))
                && !set.iter().any(|(other, _)| is_same(other))
                && !more.iter().any(|(other, _)| is_same(other))
        };
        let ours = set.iter().chain(add).map(|(name, value)| (name.as_str(), value.as_str()));
        let ours = ours.chain(more.iter().copied()).map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        // The number of a head's fields is of 16 bits.
        let fields = head.fields().filter(is_kept).chain(ours).take(usize::from(u16::MAX));
        ResponseHead::new(head.status(), fields)
    }
}

fn check_name(change: FieldChange, name: &str) -> Result<(), FieldMistake> {
    if !is_field_name(name.as_bytes()) {
        return Err(FieldMistake::Name);
    }
    let frames = is_connection_specific(name.as_bytes())
        || matches!(name, "content-length" | "content-range" | "trailer" | "status")
        || name.starts_with("sec-websocket-");
    match name {
        _ if frames => Err(FieldMistake::Framing),
        "date" => Err(FieldMistake::Date),
        "server" if change == FieldChange::Remove => Err(FieldMistake::Server),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(head: &ResponseHead) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        head.fields().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let mut changes = FieldChanges::default();
        assert!(changes.is_empty());
        changes.include(FieldChange::Add, "Vary", "accept").unwrap();
        changes.include(FieldChange::Set, "X-Frame-Options", "DENY").unwrap();
        changes.include(FieldChange::Remove, "X-Powered-By", "").unwrap();
        assert!(!changes.is_empty());
        let head = ResponseHead::new(
            404,
            [
                (&b"x-powered-by"[..], &b"a"[..]),
                (b"vary", b"cookie"),
                (b"X-FRAME-OPTIONS", b"SAMEORIGIN"),
                (b"content-length", b"3"),
            ],
        );
        let after = changes.apply(&head, &[("strict-transport-security", "max-age=1")]);
        assert_eq!(after.status(), 404);
        assert_eq!(
            shown(&after),
            [
                "vary: cookie",
                "content-length: 3",
                "x-frame-options: DENY",
                "vary: accept",
                "strict-transport-security: max-age=1"
            ]
        );
    }

    #[test]
    fn changes_of_a_kind_stand_before_others_of_the_kind() {
        let mut others = FieldChanges::default();
        others.include(FieldChange::Set, "a", "1").unwrap();
        others.include(FieldChange::Add, "b", "1").unwrap();
        let mut own = FieldChanges::default();
        own.begin(FieldChange::Set);
        own.include(FieldChange::Remove, "c", "").unwrap();
        let both = own.before(&others).apply(&ResponseHead::new(200, [(&b"c"[..], &b"1"[..])]), &[]);
        assert_eq!(shown(&both), ["b: 1"]);
    }

    #[test]
    fn what_frames_a_message_cannot_be_changed() {
        use FieldChange::{Add, Remove, Set};
        for name in [
            "Content-Length",
            "transfer-encoding",
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "upgrade",
            "content-range",
            "sec-websocket-accept",
        ] {
            for change in [Remove, Set, Add] {
                assert_eq!(
                    FieldChanges::default().include(change, name, "1"),
                    Err(FieldMistake::Framing),
                    "{name}"
                );
            }
        }
        for (change, name, value, mistake) in [
            (Set, ":status", "1", FieldMistake::Name),
            (Set, "a b", "1", FieldMistake::Name),
            (Set, "", "1", FieldMistake::Name),
            (Set, "date", "1", FieldMistake::Date),
            (Remove, "Server", "", FieldMistake::Server),
            (Set, "x", "a\r\nb: c", FieldMistake::Value),
            (Set, "x", "a\0", FieldMistake::Value),
            (Add, "x", " a", FieldMistake::Value),
        ] {
            assert_eq!(
                FieldChanges::default().include(change, name, value),
                Err(mistake),
                "{name:?} {value:?}"
            );
        }
        assert_eq!(FieldChanges::default().include(Set, "server", "mine"), Ok(()));
    }

    #[test]
    fn a_head_with_all_the_fields_that_it_may_have_stays_one() {
        let mut changes = FieldChanges::default();
        changes.include(FieldChange::Add, "x", "1").unwrap();
        let fields = std::iter::repeat_n((&b"a"[..], &b""[..]), usize::from(u16::MAX));
        assert_eq!(changes.apply(&ResponseHead::new(200, fields), &[]).field_count(), usize::from(u16::MAX));
    }
}
