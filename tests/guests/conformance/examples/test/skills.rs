//! Skills: one with files in directories, and one that is made anew for every call.

use std::time::SystemTime;

use aop_agent::skills::{File, Skill, Skills};

use crate::media::PNG;

const CHARTS: &str = "\
---
name: charts
description: Draws a chart of numbers. Use when somebody wants to see figures instead of reading them.
license: Apache-2.0
metadata:
  version: \"1.0\"
---

# Charts

Choose a form by `references/forms.md`, then fill in `templates/bar.svg`.
";

const CLOCK: &str = "\
---
name: clock
description: Says when these instructions were written. Use to see instructions that change.
---
";

impl Skills for crate::Test {
    fn list() -> Result<Vec<Skill>, String> {
        let forms = "# Forms\n\nBars for amounts, lines for what happens over time.\n";
        let bar =
            "<svg xmlns=\"http://www.w3.org/2000/svg\"><rect width=\"10\" height=\"10\"/></svg>\n";
        let charts = Skill::new("charts", CHARTS)
            .file(File::text("references/forms.md", forms).mime_type("text/markdown"))
            .file(File::text("templates/bar.svg", bar).mime_type("image/svg+xml"))
            .file(File::bytes("templates/colours/red.png", PNG).mime_type("image/png"));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_err(|error| error.to_string())?.as_nanos();
        let clock = Skill::new("clock", format!("{CLOCK}\nWritten at {now} ns of Unix time.\n"));
        Ok(vec![charts, clock.dynamic()])
    }
}
