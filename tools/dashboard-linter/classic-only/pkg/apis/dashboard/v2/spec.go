// Package v2 stands in for Grafana's package of this path, which not every module proxy serves.
//
// The linter takes from it the types of dashboards in format 2, to turn those into classic ones before it lints them.
// Ours are classic. Here are just the names that its conversion mentions, so that it compiles; reading a dashboard of
// format 2 is refused rather than done by halves. No lint rule refers to this package.
package v2

import "errors"

// UnmarshalJSON refuses.
func (*DashboardSpec) UnmarshalJSON([]byte) error {
	return errors.New("this build of dashboard-linter reads classic dashboards only")
}

type DashboardSpec struct {
	Title       string
	Editable    *bool
	Elements    map[string]DashboardElement
	Variables   []DashboardVariableKind
	Annotations []DashboardAnnotationQueryKind
}

type DashboardElement struct {
	PanelKind *struct{ Spec DashboardPanelSpec }
}

type DashboardPanelSpec struct {
	Id                 float64
	Title, Description string
	VizConfig          struct {
		Group string
		Spec  struct{ FieldConfig, Options any }
	}
	Data struct {
		Spec struct{ Queries []DashboardPanelQueryKind }
	}
}

type DashboardPanelQueryKind struct {
	Spec struct {
		RefId  string
		Hidden bool
		Query  DashboardDataQueryKind
	}
}

type DashboardDataQueryKind struct {
	Group      string
	Datasource *struct{ Name *string }
	Spec       map[string]any
}

type DashboardAnnotationQueryKind struct {
	Spec struct {
		Name  string
		Query DashboardDataQueryKind
	}
}

type DashboardVariableKind struct {
	QueryVariableKind *struct {
		Spec struct {
			Name            string
			Label, AllValue *string
			Multi           bool
			Refresh         DashboardVariableRefresh
			Query           DashboardDataQueryKind
		}
	}
	DatasourceVariableKind, CustomVariableKind, IntervalVariableKind, ConstantVariableKind,
	TextVariableKind, AdhocVariableKind, GroupByVariableKind, SwitchVariableKind *struct {
		Spec struct {
			Name, PluginId, Query string
			Label, AllValue       *string
			Multi                 bool
			Refresh               DashboardVariableRefresh
		}
	}
}

type DashboardVariableRefresh string

const (
	DashboardVariableRefreshOnTimeRangeChanged DashboardVariableRefresh = "onTimeRangeChanged"
	DashboardVariableRefreshOnDashboardLoad    DashboardVariableRefresh = "onDashboardLoad"
)
