// Grafana's data library, and of its panels what is not on npm: which options each kind knows.
import { createRequire } from 'node:module';

// What it asks a browser for: the language that dates are written in, and whether a newer frontend runs (once it is
// loaded: with a window before, its styles would want a document, too).
globalThis.navigator ??= { language: 'en-US', languages: ['en-US'] };

// The library's ES modules want a bundler; its CommonJS ones run as they are.
export const data = createRequire(import.meta.url)('@grafana/data');
globalThis.window ??= {};

export const theme = data.createTheme();
export const asIs = (text) => text;

const STANDARD = {
  displayName: data.displayNameOverrideProcessor,
  description: data.stringOverrideProcessor,
  unit: data.unitOverrideProcessor,
  min: data.numberOverrideProcessor,
  max: data.numberOverrideProcessor,
  decimals: data.numberOverrideProcessor,
  fieldMinMax: data.booleanOverrideProcessor,
  noValue: data.displayNameOverrideProcessor,
  color: data.identityOverrideProcessor,
  thresholds: data.thresholdsOverrideProcessor,
  mappings: data.valueMappingsOverrideProcessor,
  links: data.dataLinksOverrideProcessor,
};

// Under fieldConfig.defaults.custom. Stat and bar gauge have none.
const CUSTOM = {
  stat: [],
  bargauge: [],
  timeseries: [
    'drawStyle', 'lineInterpolation', 'lineWidth', 'lineStyle', 'fillOpacity', 'fillBelowTo', 'gradientMode', 'spanNulls',
    'insertNulls', 'showPoints', 'pointSize', 'showValues', 'barAlignment', 'stacking', 'transform', 'thresholdsStyle',
    'hideFrom', 'scaleDistribution', 'axisPlacement', 'axisLabel', 'axisWidth', 'axisSoftMin', 'axisSoftMax',
    'axisGridShow', 'axisCenteredZero', 'axisColorMode', 'axisBorderShow',
  ],
  // `hidden` until 12.1, `hideFrom` since.
  table: [
    'width', 'minWidth', 'align', 'cellOptions', 'wrapText', 'wrapHeaderText', 'inspect', 'filterable', 'sortable',
    'hideHeader', 'tooltip', 'footer', 'hidden', 'hideFrom',
  ],
};

const option = (id, process) => ({
  id, path: id, name: id, process, editor: () => null, override: () => null, shouldApply: () => true,
});

data.standardFieldConfigEditorRegistry.setInit(() =>
  Object.entries(STANDARD).map(([id, process]) => option(id, process))
);
data.standardTransformersRegistry.setInit(() =>
  // Some stand there twice, under an older name.
  [...new Set(Object.values(data.standardTransformers))].map((one) => ({ id: one.id, transformation: async () => one }))
);

// A panel's kind as Grafana knows it, but for its drawing; undefined for a kind that we do not use.
export function plugin(kind) {
  if (!(kind in CUSTOM)) {
    return undefined;
  }
  const custom = (builder) => {
    for (const id of CUSTOM[kind]) {
      builder.addCustomEditor(option(id, data.identityOverrideProcessor));
    }
  };
  return new data.PanelPlugin(() => null).useFieldConfig({ useCustomConfig: custom });
}
