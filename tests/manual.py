#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual: pages that look alike, fit a terminal of 80 columns and lead to each other."""
import os
import re
import unittest

import harness
from harness import SOURCE, outcome

PAGES = sorted((SOURCE / "man").glob("*.[0-9]"))
TEXTS = {page: page.read_text() for page in PAGES}


class Manual(unittest.TestCase):
    def test_titles_are_alike(self):
        self.assertGreater(len(PAGES), 6)
        dates = set()
        for page, text in TEXTS.items():
            with self.subTest(page=page.name):
                name, section = page.stem, page.suffix[1:]
                title = re.search(r'^\.TH (\S+) (\d) "(\d{4}-\d\d-\d\d)" "tsk-vdisk" "(.*)"$', text, re.MULTILINE)
                self.assertEqual(title.group(1, 2), (name.upper(), section))
                self.assertEqual(title.group(4), {"1": "User Commands", "5": "File Formats", "7": "Miscellaneous"}[section])
                self.assertRegex(text, rf"(?m)^\.SH NAME\n{re.escape(name)} \\- [a-z].*[^.]$")
                dates.add(title.group(3))
        self.assertEqual(len(dates), 1, dates)

    def test_sections_come_in_one_order(self):
        order = ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"]
        for page, text in TEXTS.items():
            with self.subTest(page=page.name):
                sections = [title.strip('"') for title in re.findall(r"^\.SH (.*)$", text, re.MULTILINE)]
                known = [title for title in sections if title in order]
                self.assertEqual(known, sorted(known, key=order.index))
                self.assertEqual(sections[-1], "SEE ALSO")
                self.assertTrue({"EXAMPLES", "RECIPES"} & set(sections))
                if page.suffix == ".1":
                    self.assertIn("SYNOPSIS", sections)

    def test_each_page_leads_to_the_others(self):
        for page, text in TEXTS.items():
            with self.subTest(page=page.name):
                named = set(re.findall(r"^\.BR (\S+) \(\d\)", re.split(r'\.SH "?SEE ALSO', text)[1].replace("\\-", "-"), re.MULTILINE))
                self.assertEqual({other.stem for other in PAGES} - {page.stem} - named, set())
                self.assertNotIn(page.stem, named)

    @unittest.skipUnless(harness.have("man"), "man is missing")
    def test_pages_fit_80_columns_without_a_warning(self):
        for page in PAGES:
            with self.subTest(page=page.name):
                status, shown, warnings = outcome("man", "--warnings", "-l", page, env=dict(os.environ, MANWIDTH="80", LC_ALL="C.UTF-8"))
                self.assertEqual((status, warnings), (0, ""))
                self.assertEqual([line for line in shown.decode().splitlines() if len(line) > 80], [])


if __name__ == "__main__":
    harness.main()
