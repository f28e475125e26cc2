// Bars of shares. In: `bars`, each with name, count, total, colour. Out: nothing; there is nothing to press.

const numbers = new Intl.NumberFormat("en");

function cell(name, words) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = words;
  return element;
}

function row(bar, longest) {
  const line = document.createElement("div");
  line.className = "bar";
  line.title = `${bar.name}: ${numbers.format(bar.count)} of ${numbers.format(bar.total)}`;
  const track = document.createElement("span");
  track.className = "track";
  const fill = document.createElement("span");
  fill.className = "fill";
  fill.style.width = `${(100 * bar.count) / longest}%`;
  fill.style.backgroundColor = bar.colour;
  track.append(fill);
  line.append(cell("name", bar.name), track, cell("count", numbers.format(bar.count)));
  line.append(cell("total", `of ${numbers.format(bar.total)}`));
  return line;
}

export default function (component) {
  const { data, parentElement } = component;
  let list = parentElement.querySelector(".bars");
  if (!list) {
    list = document.createElement("div");
    list.className = "bars";
    parentElement.appendChild(list);
  }
  const longest = Math.max(1, ...data.bars.map((bar) => bar.count));
  list.replaceChildren(...data.bars.map((bar) => row(bar, longest)));
}
