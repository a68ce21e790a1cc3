//! Prometheus' text format, read.

/// The samples of one scrape.
#[derive(Debug, Clone)]
pub struct Scrape {
    text: String,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

impl Scrape {
    /// Reads the format.
    ///
    /// # Panics
    /// When a line is not of it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let samples = samples
            .map(|line| Sample::parse(line).unwrap_or_else(|| panic!("not a sample: {line}")));
        Self { samples: samples.collect(), text: text.to_owned() }
    }

    /// The sum of all samples of a name; none when there is none. The suffix that the format adds
    /// to counters may be left out.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.with(name, &[])
    }

    /// The sum of the samples that have all labels.
    #[must_use]
    pub fn with(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let total = format!("{name}_total");
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let found: Vec<f64> = self
            .samples
            .iter()
            .filter(|sample| sample.name == name || sample.name == total)
            .filter(|sample| labels.iter().all(|label| sample.labels.contains(label)))
            .map(|sample| sample.value)
            .collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    /// The names of all samples.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.iter().map(|sample| sample.name.as_str())
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.samples.len()
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.split_at(line.find(['{', ' '])?);
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest),
        };
        let value = value.split_whitespace().next()?.parse().ok()?;
        Some(Self { name: name.to_owned(), labels: labels.to_owned(), value })
    }
}
