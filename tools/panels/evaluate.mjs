// node tools/panels/evaluate.mjs DASHBOARD.json...
//
// Does with each panel what Grafana does before it draws: fills in defaults, joins tables, applies overrides, formats
// values and finds their colours. Prints what a reader would not see as it was meant, and exits 1 if there is any.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { frames } from './frames.mjs';
import { asIs, data, plugin, theme } from './grafana.mjs';

const HOUR = 3_600_000;
// How a value reads in each unit that we use.
const READS = {
  bytes: [2 ** 30, /^1(\.0+)? GiB$/],
  percentunit: [0.5, /^50(\.0+)?%$/],
  short: [12_345, /^12(\.3\d*)? K$/],
  none: [12_345, /^12345(\.0+)?$/],
  s: [90, /^(1\.50*|2) mins?$/],
  watt: [700, /^700(\.0+)? W$/],
  watth: [1500, /^(1\.50?|2) kWh$/],
  joule: [3000, /^3(\.0+)? kJ$/],
  celsius: [45, /^45(\.0+)? °C$/],
  dateTimeFromNow: [Date.now() - 2 * HOUR, /^2 hours ago$/],
};
const UNITS = new Set(data.getValueFormats().flatMap(({ submenu }) => submenu.map(({ value }) => value)));
const COLORS = new Set(['text', 'transparent', ...theme.visualization.hues.flatMap(namesOf)]);
const CELL = /\$\{__data\.fields\.([^:}]+)/g;

const hex = (color) => data.colorManipulator.asHexString(theme.visualization.getColorByName(color));
const shown = (display) => data.formattedValueToString(display).trim();

export async function faults(dashboard) {
  const panels = dashboard.panels.flatMap((panel) => (panel.type === 'row' ? panel.panels : [panel]));
  const found = [];
  for (const panel of panels.filter(({ type }) => type !== 'text')) {
    found.push(...(await ofPanel(panel)).map((fault) => `${panel.title}: ${fault}`));
  }
  return found;
}

async function ofPanel(panel) {
  const kind = plugin(panel.type);
  if (!kind) {
    return [`the kind ${panel.type} is none of ours`];
  }
  const read = structuredClone(panel);
  const { fieldConfig } = data.getPanelOptionsWithDefaults({
    plugin: kind, currentOptions: read.options, currentFieldConfig: read.fieldConfig, isAfterPluginChange: false,
  });
  const raw = await frames(panel);
  const applied = data.applyFieldOverrides({
    data: raw, fieldConfig, fieldConfigRegistry: kind.fieldConfigRegistry, replaceVariables: asIs, theme,
  });
  const named = applied.flatMap((frame) =>
    frame.fields.map((field) => [data.getFieldDisplayName(field, frame, applied), field])
  );
  const fields = named.filter(([, { type }]) => type !== data.FieldType.time);
  return [
    ...dropped(panel, kind),
    ...panel.fieldConfig.overrides.flatMap((override) => ofOverride(override, kind, raw)),
    ...fields.flatMap(([name, field]) => ofField(field).map((fault) => `${name}: ${fault}`)),
    ...ofEmptiness(panel, fieldConfig),
    ...(panel.type === 'table' ? ofTable(panel, applied) : []),
  ];
}

// Keys of the shared configuration that Grafana's loader throws away, because the kind of panel has no such option.
function dropped(panel, kind) {
  const { custom = {}, ...standard } = panel.fieldConfig.defaults;
  const ids = [...Object.keys(standard), ...Object.keys(custom).map((key) => `custom.${key}`)];
  return ids.filter((id) => !kind.fieldConfigRegistry.getIfExists(id)).map((id) => `${panel.type} has no option ${id}`);
}

function ofOverride({ matcher, properties }, kind, raw) {
  const known = data.fieldMatchers.getIfExists(matcher.id);
  const matches = known?.get(matcher.options);
  const hit = matches && raw.some((frame) => frame.fields.some((field) => matches(field, frame, raw)));
  return [
    ...(hit ? [] : [`no field is called ${matcher.options} (${matcher.id})`]),
    ...properties
      .filter(({ id }) => !kind.fieldConfigRegistry.getIfExists(id))
      .map(({ id }) => `an override of ${matcher.options} sets ${id}, which is no option`),
  ];
}

const ofField = (field) => [...ofUnit(field), ...ofMappings(field), ...ofColorNames(field), ...ofColors(field)];

function ofUnit({ config, display }) {
  if (!config.unit) {
    return [];
  }
  if (!UNITS.has(config.unit)) {
    return [`the unit ${config.unit} is none of Grafana's`];
  }
  if (!(config.unit in READS)) {
    return [`how values in ${config.unit} read is not written down in evaluate.mjs`];
  }
  const [value, wanted] = READS[config.unit];
  const mapped = config.mappings?.length > 0;
  return mapped || wanted.test(shown(display(value))) ? [] : [`${value} in ${config.unit} reads ${shown(display(value))}`];
}

// Each value with words of its own is said in those, in their colour.
function ofMappings({ config, display }) {
  const texts = (config.mappings ?? []).filter(({ type }) => type === 'value').flatMap(({ options }) => Object.entries(options));
  return texts.flatMap(([value, { text, color }]) => {
    const got = display(Number.isNaN(Number(value)) ? value : Number(value));
    return got.text === text && (!color || hex(got.color) === hex(color)) ? [] : [`${value} is said as ${got.text}, ${got.color}`];
  });
}

function namesOf({ shades }) {
  return shades.flatMap(({ name, aliases = [] }) => [name, ...aliases]);
}

function ofColorNames({ config }) {
  const words = (config.mappings ?? []).flatMap(({ options }) => Object.values(options));
  const named = [...(config.thresholds?.steps ?? []), ...words].map(({ color }) => color);
  const used = [...named, config.color?.fixedColor].filter(Boolean);
  const unknown = used.filter((color) => !COLORS.has(color) && !/^#[0-9a-f]{6}$/i.test(color));
  return unknown.map((color) => `the colour ${color} is none of Grafana's`);
}

// Where thresholds colour a value: at the start of each step its colour, just below the next one's still that.
function ofColors(field) {
  const { config, display } = field;
  if (config.color?.mode === 'fixed') {
    const { color } = data.getFieldSeriesColor(field, theme);
    return hex(color) === hex(config.color.fixedColor) ? [] : [`is ${color}, not ${config.color.fixedColor}`];
  }
  if (config.color?.mode !== 'thresholds' || field.type !== data.FieldType.number) {
    return [];
  }
  const steps = config.thresholds.steps;
  return steps.flatMap(({ value, color }, index) => {
    const end = steps[index + 1]?.value ?? Infinity;
    const start = value === -Infinity ? Math.min(0, end) - 1 : value;
    const last = end === Infinity ? start * 2 + 1 : end - Math.abs(end) * 1e-9;
    return [start, last]
      .filter((one) => !isMapped(config, one) && hex(display(one).color) !== hex(color))
      .map((one) => `${one} is ${display(one).color}, not ${color}`);
  });
}

const isMapped = ({ mappings = [] }, value) => mappings.some(({ options }) => String(value) in options);

// A single figure without data says what the panel wants said.
function ofEmptiness(panel, fieldConfig) {
  if (panel.type !== 'stat') {
    return [];
  }
  const [{ display }] = data.getFieldDisplayValues({
    data: [], fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: asIs, theme,
  });
  return [
    ...(display.text === fieldConfig.defaults.noValue ? [] : [`without data it says ${display.text}`]),
    ...(display.color === theme.colors.text.primary ? [] : [`without data it is coloured ${display.color}`]),
  ];
}

// One table, its columns in their order and under their titles; links take from the row only what is in it.
function ofTable(panel, applied) {
  if (applied.length !== 1) {
    return [`${applied.length} tables`];
  }
  const [frame] = applied;
  const { indexByName, renameByName } = panel.transformations.find(({ id }) => id === 'organize').options;
  const wanted = Object.keys(indexByName).sort((one, other) => indexByName[one] - indexByName[other]);
  const titles = frame.fields.map((field) => data.getFieldDisplayName(field, frame, applied));
  const same = JSON.stringify(titles) === JSON.stringify(wanted.map((name) => renameByName[name] ?? name));
  const row = data.getFieldDisplayValuesProxy({ frame, rowIndex: 0 });
  const urls = frame.fields.flatMap(({ config }) => (config.links ?? []).map(({ url }) => url));
  const missing = urls.flatMap((url) => [...url.matchAll(CELL)].map(([, name]) => name)).filter((name) => !row[name]);
  const sorted = (panel.options.sortBy ?? []).map(({ displayName }) => displayName);
  return [
    ...(same ? [] : [`its columns are ${titles}`]),
    ...missing.map((name) => `a link takes ${name}, which is no column`),
    ...sorted.filter((title) => !titles.includes(title)).map((title) => `sorted by ${title}, which is no column`),
  ];
}

async function main(files) {
  let count = 0;
  for (const file of files) {
    for (const fault of await faults(JSON.parse(readFileSync(file, 'utf8')))) {
      console.log(`${file}: ${fault}`);
      count += 1;
    }
  }
  console.log(`${files.length} dashboards, ${count} faults`);
  process.exitCode = count === 0 && files.length > 0 ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(process.argv.slice(2));
}
