"""How the pages at `/` look: one style sheet for both roles, light and dark, from a phone's width up."""

from __future__ import annotations

from typing import Final

# On a narrow screen each row of a table becomes a block of its own. Browsers may take `display` for the end of a
# table's meaning, therefore the elements bear their roles. What a column's head says stands before each figure then;
# a screen reader has the head itself, so it is told nothing twice (`/ ""`).
STYLE: Final = """
:root { color-scheme: light dark; --ground: #fff; --raised: #f3f5f7; --text: #1a1c1e; --dim: #54595f;
  --line: #d5d9dd; --edge: #767b80; --fill: #3b82c4; --bad: #b3001b; --link: #0b57d0 }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --raised: #1f2428; --text: #e8eaed; --dim: #aab1b8;
  --line: #363d44; --edge: #838b93; --fill: #4279b0; --bad: #ff8f85; --link: #8ab8ff } }
* { box-sizing: border-box }
body { background: var(--ground); color: var(--text); font: 15px/1.45 system-ui, sans-serif; margin: 0 auto;
  max-width: 84rem; overflow-wrap: anywhere; padding: 1rem }
h1 { font-size: 1.35rem; margin: .5rem 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .2rem } p { margin: .3rem 0 }
ul { margin: .3rem 0; padding-left: 1.2rem }
a { color: var(--link) } :focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
button { background: var(--raised); border: 1px solid var(--edge); border-radius: .3rem; color: inherit; font: inherit;
  min-height: 1.9rem; padding: .1rem .7rem }
header > p { align-items: center; display: flex; flex-wrap: wrap; gap: .2rem .5rem }
.dim { color: var(--dim) } .bad { color: var(--bad); font-weight: 600 }
.note { background: var(--raised); border-left: .25rem solid var(--edge); padding: .4rem .7rem }
.alarm { border-left: .25rem solid var(--bad); padding: .4rem .7rem }
.bar { border: 1px solid var(--edge); border-radius: 2px; display: block; flex: none; height: .8rem; width: 6rem }
.fill { fill: var(--fill) } .mark { fill: var(--text) }
.drawn { align-items: center; display: flex; gap: .3rem; justify-content: end } .drawn > span { min-width: 6rem }
.share > span { min-width: 3.5rem } .wide { min-width: 8rem } tbody th:first-child { min-width: 11rem }
dl { margin: .6rem 0 } dt { grid-area: title } dd { display: contents } dd > span { grid-area: figure }
dl > div { display: grid; gap: 0 1rem; grid-template: "title bar figure" / 9rem minmax(6rem, 26rem) 1fr }
dd > .bar { grid-area: bar; height: 1.1rem; margin: .15rem 0; width: 100% }
table { border-collapse: collapse; margin: .8rem 0 0; width: 100% }
caption { color: var(--dim); padding: .2rem 0; text-align: left }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top }
th { font-weight: 400 } thead th { color: var(--dim); overflow-wrap: normal }
tbody tr:not(.group) > th { padding-left: 1.4rem }
.group th, .group td { background: var(--raised); font-weight: 600 } .group .dim { font-weight: 400 }
.n { font-variant-numeric: tabular-nums; text-align: right } td.n { white-space: nowrap }
footer { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: .5rem }
@media (max-width: 68rem) {
  body { padding: .6rem }
  dl > div { grid-template: "title figure" "bar bar" / max-content 1fr; margin-bottom: .3rem }
  table, tbody, caption { display: block }
  thead { clip-path: inset(50%); height: 1px; overflow: hidden; position: absolute; width: 1px }
  tr { border-bottom: 1px solid var(--line); display: grid; gap: .1rem 0; grid-template-columns: 12rem 1fr;
    padding: .4rem 0 }
  th, td { border: 0; padding: 0 .4rem } td:empty { display: none } td.n { text-align: left; white-space: normal }
  td[data-head] { align-content: start; display: flex; flex-wrap: wrap; gap: 0 .4rem }
  td[data-head]::before { color: var(--dim); content: attr(data-head); content: attr(data-head) / "" }
  .drawn { display: contents } .drawn > span { min-width: 0 }
  .drawn > .bar { margin: .2rem 0; order: 1; width: 100% }
  tbody th:first-child, .wide { grid-column: 1 / -1 } .group { background: var(--raised) }
  tbody tr:not(.group) > th { font-weight: 600; padding-left: .4rem } .group td.n { font-weight: 400 }
}
@media (forced-colors: active) { .fill { fill: Highlight } .mark { fill: CanvasText } }
"""
