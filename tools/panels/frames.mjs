// What Prometheus could answer to a panel's queries, as Grafana's Prometheus data source hands it on.
import { data } from './grafana.mjs';

const LABEL = /\{\{\s*(\w+)\s*\}\}/g;
const NOW = Date.now();
const TIMES = [NOW - 60_000, NOW - 30_000, NOW];

// All frames of a panel, its transformations done. A promise, as these are asynchronous.
export function frames(panel) {
  const raw = panel.type === 'table' ? tables(panel) : panel.targets.flatMap((target) => series(panel, target));
  return new Promise((resolve, reject) => {
    data.transformDataFrame(panel.transformations ?? [], raw).subscribe({ next: resolve, error: reject });
  });
}

// One series for the legend as it is, and one for each override that a legend with labels may fit.
function series(panel, target) {
  const names = panel.fieldConfig.overrides
    .filter((override) => override.matcher.id === 'byName')
    .map((override) => override.matcher.options);
  const found = [sampleLabels(target.legendFormat), ...names.map((name) => labelsFrom(target.legendFormat, name))];
  return found.filter(Boolean).map((labels) => frame(target, labels));
}

function frame(target, labels) {
  const displayNameFromDS = target.legendFormat.replace(LABEL, (_, label) => labels[label]);
  const values = target.instant ? [0.5] : [0.25, 0.75, 0.5];
  const times = TIMES.slice(-values.length);
  return data.toDataFrame({
    refId: target.refId,
    name: displayNameFromDS,
    fields: [
      { name: 'Time', type: data.FieldType.time, values: times },
      { name: 'Value', type: data.FieldType.number, values, labels, config: { displayNameFromDS } },
    ],
  });
}

function sampleLabels(legend) {
  return Object.fromEntries([...legend.matchAll(LABEL)].map(([, label]) => [label, `${label}-1`]));
}

// The labels with which a legend reads so; undefined if it cannot, or if it has none.
function labelsFrom(legend, name) {
  const labels = [...legend.matchAll(LABEL)].map(([, label]) => label);
  const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const pattern = legend.split(LABEL).map((part, index) => (index % 2 ? '(.+)' : literal(part))).join('');
  const found = new RegExp(`^${pattern}$`).exec(name);
  return found && labels.length > 0
    ? Object.fromEntries(labels.map((label, index) => [label, found[index + 1]]))
    : undefined;
}

// One table for each query: all labels that the panel keeps (a test sees to it that they are there), and the value.
function tables(panel) {
  const kept = panel.transformations.find(({ id }) => id === 'filterFieldsByName').options.include.names;
  const labels = [...new Set(['cluster', 'job', ...kept.filter((name) => !name.startsWith('Value'))])];
  return panel.targets.map((target) =>
    data.toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: data.FieldType.time, values: [NOW, NOW] },
        ...labels.map((name) => ({ name, type: data.FieldType.string, values: [`${name}-1`, `${name}-2`] })),
        {
          name: panel.targets.length > 1 ? `Value #${target.refId}` : 'Value',
          type: data.FieldType.number,
          values: [0.25, 0.75],
        },
      ],
    })
  );
}
