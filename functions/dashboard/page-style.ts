/** How does the page look? In light and in dark, on a phone and on a wall; colour never says anything that words do not. */

export const style = `
:root {
  color-scheme: light dark;
  --ground: light-dark(#f6f7f9, #101418);
  --card: light-dark(#fff, #181d23);
  --line: light-dark(#d9dee5, #303842);
  --text: light-dark(#1a2028, #e6eaf0);
  --quiet: light-dark(#566170, #9aa6b5);
  --stable: light-dark(#8b97a8, #65717f);
  --canary: light-dark(#a35a00, #f0b040);
  --focus: light-dark(#0b57d0, #8ab4f8);
  --good: light-dark(#11693a, #6fcf97);
  --bad: light-dark(#b3261e, #ff8a80);
  --wait: light-dark(#7a5a00, #e8c35a);
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 70rem; margin: 0 auto; padding: 0 1rem; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 1rem; padding-top: 1.25rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
h3 { font-size: 1.1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0; }
.quiet, #status, .empty { color: var(--quiet); }
#status.bad { color: var(--bad); font-weight: 600; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; margin-bottom: 1rem; }
.top { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem; }
.badge { border: 1px solid currentColor; border-radius: 1rem; padding: 0 .6rem; font-size: .85rem; font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); } .wait { color: var(--wait); }
.where { overflow-wrap: anywhere; font-size: .87rem; }
.reason { font-size: 1.02rem; margin: .5rem 0; overflow-wrap: anywhere; }
.steps { display: flex; gap: .3rem; list-style: none; padding: 0; margin: .9rem 0 .4rem; }
.steps li { flex: 1; min-width: 0; border-top: .4rem solid var(--line); padding-top: .2rem; font-size: .85rem; }
.steps b { display: block; }
.steps .done { border-color: var(--stable); }
.steps .now { border-color: var(--canary); }
.shares { display: grid; grid-template-columns: max-content 1fr; gap: .2rem .6rem; align-items: center; font-size: .85rem; }
.bar { display: flex; height: .8rem; background: var(--line); border-radius: .2rem; overflow: hidden; }
.bar .stable { background: var(--stable); } .bar .canary { background: var(--canary); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--quiet); white-space: nowrap; }
.number { text-align: right; }
.role { white-space: nowrap; }
.role::before { content: ''; display: inline-block; width: .7em; height: .7em; border-radius: .15em; margin-right: .45em; }
.role.stable::before { background: var(--stable); } .role.canary::before { background: var(--canary); }
.verdicts { list-style: none; padding: 0; margin: .5rem 0; }
.verdicts > li { margin-bottom: .3rem; }
.verdicts ul { margin: .1rem 0; padding-left: 1.2rem; font-size: .9rem; }
.buttons { display: flex; flex-wrap: wrap; gap: .5rem; margin-top: .7rem; }
button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--quiet); border-radius: .4rem;
  min-height: 2.4rem; padding: 0 1rem; cursor: pointer; }
button:hover { background: var(--line); }
button.grave { color: var(--bad); border-color: var(--bad); }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
details { margin-top: .7rem; }
summary { cursor: pointer; color: var(--quiet); width: max-content; max-width: 100%; }
td details { margin: 0; }
pre { font-size: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; max-height: 20rem; overflow-y: auto; }
dialog { background: var(--card); color: inherit; border: 1px solid var(--line); border-radius: .6rem; width: min(30rem, 92vw); }
dialog::backdrop { background: rgb(0 0 0 / .5); }
dialog h2 { margin-top: 0; overflow-wrap: anywhere; }
label { display: block; margin-top: .6rem; }
input { font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--quiet); border-radius: .4rem;
  width: 100%; padding: .4rem .6rem; }
#dialog-problem { color: var(--bad); }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 40rem) { .steps small { display: none; } }
`;
