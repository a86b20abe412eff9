// Prometheus' answers as Grafana's data frames, after the panel's transformations and field configuration.
import {
  FieldType, Registry, applyFieldOverrides, createTheme, getFieldDisplayName, standardFieldConfigEditorRegistry,
  standardTransformers, standardTransformersRegistry, toDataFrame, transformDataFrame,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';

export const theme = createTheme({ colors: { mode: 'dark' } });

// Two names are given to one transformation there.
standardTransformersRegistry.setInit(() => [...new Set(Object.values(standardTransformers))].map((transformation) => ({
  id: transformation.id, name: transformation.name, transformation: async () => transformation, editor: null,
})));
standardFieldConfigEditorRegistry.setInit(() => []);

const STANDARD = ['unit', 'min', 'max', 'decimals', 'displayName', 'noValue', 'color', 'thresholds', 'mappings', 'links'];
const CUSTOM = ['lineStyle', 'lineWidth', 'fillOpacity', 'stacking', 'width', 'cellOptions', 'align', 'drawStyle', 'fillBelowTo', 'hideFrom', 'lineInterpolation', 'minWidth', 'inspect'];

const item = (id, path, isCustom) => ({
  id, path, isCustom, name: id, shouldApply: () => true, process: (value) => value, getItemsCount: () => 0, override: null, editor: null, settings: {},
});

export const registry = new Registry(() => [
  ...STANDARD.map((id) => item(id, id, false)),
  ...CUSTOM.map((id) => item(`custom.${id}`, id, true)),
]);

const legend = (target, labels) => {
  if (target.legendFormat === '__auto') {
    const { __name__: name = '', ...rest } = labels;
    const pairs = Object.entries(rest).map(([key, value]) => `${key}="${value}"`);
    return name || pairs.length ? `${name}{${pairs.join(', ')}}` : target.expr;
  }
  return target.legendFormat.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, key) => labels[key] ?? '');
};

const number = (text) => Number(text.replace('Inf', 'Infinity'));

// One frame for each series, as for graphs and single figures; gaps in the steps are null, so that lines break.
const series = (target, result, span) => result.map(({ metric, values, value }) => {
  const samples = values ?? [value];
  let times = samples.map(([time]) => time * 1000);
  let figures = samples.map(([, figure]) => number(figure));
  if (values && span) {
    const known = new Map(times.map((time, index) => [Math.round(time), figures[index]]));
    times = Array.from({ length: Math.floor((span.to - span.from) / span.step) + 1 }, (_, index) => span.from + index * span.step);
    figures = times.map((time) => known.get(Math.round(time)) ?? null);
  }
  const name = legend(target, metric);
  return toDataFrame({
    refId: target.refId, name,
    fields: [
      { name: 'Time', type: FieldType.time, values: times, config: {} },
      { name: 'Value', type: FieldType.number, values: figures, labels: metric, config: { displayNameFromDS: name } },
    ],
  });
});

// One frame for all series of a query: a column for each label, as for tables.
const rows = (target, result, several) => {
  const names = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: result.map(({ value }) => value[0] * 1000), config: {} },
      ...names.map((name) => ({
        name, type: FieldType.string, values: result.map(({ metric }) => metric[name] ?? ''), config: { filterable: true },
      })),
      {
        name: several ? `Value #${target.refId}` : 'Value', type: FieldType.number, config: {},
        values: result.map(({ value }) => number(value[1])),
      },
    ],
  });
};

export const framesOf = async (panel, answers, span) => {
  const several = panel.targets.length > 1;
  const raw = panel.targets.flatMap((target) => (
    target.format === 'table' ? [rows(target, answers[target.refId], several)] : series(target, answers[target.refId], span)
  ));
  const context = { interpolate: (text) => text };
  const data = await firstValueFrom(transformDataFrame(panel.transformations ?? [], raw, context));
  const frames = applyFieldOverrides({
    data, fieldConfig: panel.fieldConfig, fieldConfigRegistry: registry, replaceVariables: (text) => text, theme, timeZone: 'utc',
  });
  frames.forEach((frame) => frame.fields.forEach((field) => getFieldDisplayName(field, frame, frames))); // kept in the field
  return frames;
};
