//! The arguments of `CREATE TRIGGER … EXECUTE FUNCTION mrl_embed_trigger(…)`:
//! target column, task prefix, source column or template, then `dim=…` and `model=…`.

use thiserror::Error;

use crate::{Template, TemplateError};

/// Why the arguments make no sense.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ArgumentError {
    #[error(
        "mrl_embed_trigger needs a target column, a task prefix and a source column or template"
    )]
    TooFew,
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("unknown option \"{0}\" of mrl_embed_trigger")]
    UnknownOption(String),
    #[error("option \"{0}\" of mrl_embed_trigger is given twice")]
    RepeatedOption(String),
    #[error("invalid value \"{value}\" of option \"{option}\" of mrl_embed_trigger")]
    InvalidValue { option: &'static str, value: String },
    #[error("column \"{0}\" cannot be both source and target of mrl_embed_trigger")]
    TargetIsSource(String),
}

/// The arguments, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerArguments {
    /// The column that is filled.
    pub target: String,
    /// The task prefix; an empty argument means none.
    pub prefix: Option<String>,
    /// What is embedded.
    pub source: Template,
    /// How many dimensions are kept; `None`: as many as the column declares, or all.
    pub dim: Option<i32>,
    /// The model; `None`: the default one.
    pub model: Option<String>,
}

impl TriggerArguments {
    pub fn parse(arguments: &[&str]) -> Result<Self, ArgumentError> {
        let [target, prefix, source, options @ ..] = arguments else {
            return Err(ArgumentError::TooFew);
        };
        let mut parsed = Self {
            target: (*target).into(),
            prefix: (!prefix.is_empty()).then(|| (*prefix).into()),
            source: Template::parse(source)?,
            dim: None,
            model: None,
        };
        for option in options {
            parsed.set(option)?;
        }
        if parsed.source.columns().contains(&parsed.target) {
            return Err(ArgumentError::TargetIsSource(parsed.target));
        }
        Ok(parsed)
    }

    fn set(&mut self, option: &str) -> Result<(), ArgumentError> {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let invalid = |option| ArgumentError::InvalidValue { option, value: value.into() };
        let repeated = match key.trim() {
            "dim" => {
                let dim = value.trim().parse().map_err(|_| invalid("dim"))?;
                self.dim.replace(dim).is_some()
            }
            "model" if value.trim().is_empty() => return Err(invalid("model")),
            "model" => self.model.replace(value.trim().into()).is_some(),
            _ => return Err(ArgumentError::UnknownOption(option.into())),
        };
        if repeated { Err(ArgumentError::RepeatedOption(key.trim().into())) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_in_order_then_options() {
        let parsed =
            TriggerArguments::parse(&["emb", "search_document", "body", "dim=256", "model=m"]);
        let parsed = parsed.unwrap();
        assert_eq!(
            (parsed.target.as_str(), parsed.prefix.as_deref()),
            ("emb", Some("search_document"))
        );
        assert_eq!(parsed.source.columns(), ["body"]);
        assert_eq!((parsed.dim, parsed.model.as_deref()), (Some(256), Some("m")));
        assert_eq!(TriggerArguments::parse(&["emb", "", "body"]).unwrap().prefix, None);
    }

    #[test]
    fn mistakes_are_named() {
        let message =
            |arguments: &[&str]| TriggerArguments::parse(arguments).unwrap_err().to_string();
        assert_eq!(message(&["emb", "p"]), ArgumentError::TooFew.to_string());
        assert!(message(&["e", "p", "b", "dims=2"]).contains("\"dims=2\""));
        assert!(message(&["e", "p", "b", "dim=x"]).contains("\"x\""));
        assert!(message(&["e", "p", "b", "model="]).contains("\"model\""));
        assert!(message(&["e", "p", "b", "dim=1", "dim=2"]).contains("twice"));
        assert!(message(&["e", "p", "{b} {e}"]).contains("both source and target"));
    }
}
