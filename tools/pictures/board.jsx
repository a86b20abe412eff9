// A whole dashboard drawn by Grafana's own components, for a picture of it.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { ThemeContext, dateTime, getDisplayValueAlignmentFactors, getFieldDisplayValues, renderMarkdown } from '@grafana/data';
import {
  BarGauge, BigValue, GlobalStyles, PanelChrome, TimeSeries, VizRepeater,
} from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { framesOf, theme } from './frames.mjs';

const CELL = 1904 / 24;
const ROW = 38;
const { board, answers, span, chosen, unfold } = window.DASHBOARD;

const displayed = (panel, frames) => getFieldDisplayValues({
  data: frames, fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: (text) => text,
  theme, sparkline: panel.options.graphMode === 'area', timeZone: 'utc',
});

const Stat = ({ panel, frames, width, height }) => (
  <VizRepeater
    getValues={() => displayed(panel, frames)} source={frames} orientation="auto" width={width} height={height} renderCounter={0}
    autoGrid={true} itemSpacing={3}
    renderValue={({ value, width: wide, height: high, count }) => (
      <BigValue
        value={value.display} width={wide} height={high} count={count} theme={theme} sparkline={value.sparkline}
        colorMode={panel.options.colorMode} graphMode={panel.options.graphMode} justifyMode={panel.options.justifyMode}
        textMode={panel.options.textMode}
      />
    )}
  />
);

const Bars = ({ panel, frames, width, height }) => (
  <VizRepeater
    getValues={() => displayed(panel, frames)} source={frames} orientation="horizontal" width={width} height={height}
    renderCounter={0} itemSpacing={6} minVizHeight={16} maxVizHeight={60} getAlignmentFactors={getDisplayValueAlignmentFactors}
    renderValue={({ value, width: wide, height: high, alignmentFactors }) => (
      <BarGauge
        value={value.display} width={wide} height={high} orientation="horizontal" field={value.field} theme={theme}
        display={(figure) => value.view.getFieldDisplayProcessor(value.colIndex)(figure)} alignmentFactors={alignmentFactors}
        displayMode={panel.options.displayMode} namePlacement="auto" showUnfilled valueDisplayMode="color" itemSpacing={6} lcdCellWidth={8}
      />
    )}
  />
);

const Content = ({ panel, frames, width, height }) => {
  const empty = frames.every((frame) => frame.length === 0);
  if (panel.type === 'text') {
    return <div className="markdown-html" style={{ padding: 8 }} dangerouslySetInnerHTML={{ __html: renderMarkdown(panel.options.content) }} />;
  }
  if (empty) {
    const text = panel.fieldConfig.defaults.noValue ?? 'No data';
    return <div style={{ width, height, display: 'flex', alignItems: 'center', justifyContent: 'center', color: theme.colors.text.secondary, fontSize: panel.type === 'stat' ? 28 : 16 }}>{text}</div>;
  }
  if (panel.type === 'stat') return <Stat {...{ panel, frames, width, height }} />;
  if (panel.type === 'bargauge') return <Bars {...{ panel, frames, width, height }} />;
  if (panel.type === 'table') {
    return <TableNG data={frames[0]} width={width} height={height} sortBy={panel.options.sortBy} cellHeight={panel.options.cellHeight} fieldConfig={panel.fieldConfig} />;
  }
  const range = { from: dateTime(span.from), to: dateTime(span.to), raw: { from: '', to: '' } };
  return <TimeSeries frames={frames} timeRange={range} timeZone="utc" width={width} height={height} legend={panel.options.legend} options={panel.options} />;
};

class Guard extends React.Component {
  state = { error: null };
  static getDerivedStateFromError(error) { return { error }; }
  componentDidCatch(error) { window.FAILED.push(`${this.props.title}: ${error.message}`); }
  render() { return this.state.error ? <pre>{String(this.state.error)}</pre> : this.props.children; }
}

const Panel = ({ panel, frames }) => {
  const { x, y, w, h } = panel.gridPos;
  const width = w * CELL - 8;
  const height = h * ROW - 8;
  return (
    <div style={{ position: 'absolute', left: x * CELL + 4, top: y * ROW + 4, width, height }}>
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
        {(wide, high) => <Guard title={panel.title}><Content panel={panel} frames={frames} width={wide} height={high} /></Guard>}
      </PanelChrome>
    </div>
  );
};

const Row = ({ panel }) => (
  <div style={{ position: 'absolute', left: 12, top: panel.gridPos.y * ROW + 8, fontWeight: 500 }}>{panel.open ? '⌄' : '›'} {panel.title}</div>
);

const Board = ({ panels, frames, height }) => (
  <div style={{ background: theme.colors.background.canvas, color: theme.colors.text.primary, width: 1920, padding: 8, fontFamily: theme.typography.fontFamily, fontSize: 14 }}>
    <div style={{ padding: '4px 8px 10px', display: 'flex', gap: 16, alignItems: 'baseline' }}>
      <span style={{ fontSize: 20 }}>{board.title}</span>
      {chosen.map(([label, value]) => <span key={label} style={{ color: theme.colors.text.secondary }}>{label}: <b style={{ color: theme.colors.text.primary }}>{value}</b></span>)}
    </div>
    <div style={{ position: 'relative', height, width: 1904 }}>
      {panels.map((panel) => (panel.type === 'row'
        ? <Row key={panel.id} panel={panel} /> : <Panel key={panel.id} panel={panel} frames={frames[panel.id]} />))}
    </div>
  </div>
);

// The panels as the dashboard opens, or with its folded rows open, one below the other.
const shown = () => {
  if (!unfold) return board.panels;
  const panels = [];
  let shift = 0;
  for (const panel of board.panels) {
    const moved = { ...panel, gridPos: { ...panel.gridPos, y: panel.gridPos.y + shift } };
    panels.push(moved);
    if (panel.type === 'row' && panel.panels.length) {
      moved.open = true;
      panels.push(...panel.panels.map((inner) => ({ ...inner, gridPos: { ...inner.gridPos, y: inner.gridPos.y + shift } })));
      shift += Math.max(...panel.panels.map(({ gridPos }) => gridPos.y + gridPos.h)) - panel.gridPos.y - 1;
    }
  }
  return panels;
};

window.FAILED = [];
const main = async () => {
  const panels = shown();
  const frames = {};
  for (const panel of panels) {
    if (panel.targets) frames[panel.id] = await framesOf(panel, answers[panel.id], span);
    else frames[panel.id] = [];
  }
  const height = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * ROW;
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}><GlobalStyles /><Board {...{ panels, frames, height }} /></ThemeContext.Provider>,
  );
  setTimeout(() => { document.title = `${height + 60}`; document.body.dataset.failed = JSON.stringify(window.FAILED); }, 1500);
};
main().catch((error) => { document.body.textContent = error.stack; });
