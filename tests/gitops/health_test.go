// Package gitops tests the health rules of GitOps tools on an McpGateway and an McpGatewayFleet in every state: Argo
// CD's Lua script in the interpreter that Argo CD uses, Flux's expressions in Flux's own evaluator (CEL), and kstatus.
//
// The objects in states/ and fleet-states/ are what the operator writes. Tests of the operator generate them
// (tests/it/gitops).
package gitops

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

const integrations = "../../integrations/gitops/"

// verdict is what kstatus, Argo CD and Flux say of an object, for each state of docs/contract.md#conditions and for what
// lies between two states.
type verdict struct {
	kstatus status.Status
	argo    string
	message string
	flux    status.Status
}

var (
	waiting  = verdict{status.InProgressStatus, "Progressing", "Waiting for the operator", status.InProgressStatus}
	deleting = verdict{status.TerminatingStatus, "Progressing", "Being deleted", ""}
)

func current(message string) verdict {
	return verdict{status.CurrentStatus, "Healthy", message, status.CurrentStatus}
}

func failed(message string) verdict {
	return verdict{status.FailedStatus, "Degraded", message, status.FailedStatus}
}

func suspended(message string) verdict {
	return verdict{status.CurrentStatus, "Suspended", message, status.CurrentStatus}
}

func inProgress(message string) verdict {
	return verdict{status.InProgressStatus, "Progressing", message, status.InProgressStatus}
}

// By folder, then by file.
var tables = map[string]map[string]verdict{"states": gateways, "fleet-states": fleets}

var gateways = map[string]verdict{
	"created":          waiting,
	"above-cut":        current("AboveCut: "),
	"held":             current("Held: "),
	"pinned":           current("Pinned: "),
	"too-many-pinned":  current("NeverUsed: "),
	"below-cut":        current("BelowCut: "),

	// An annotation changes nothing of the spec.
	"classified-then-asked-to-refresh": current("AboveCut: "),
	"refresh-answered":                 current("NeverUsed: "),
	"invalid-refresh-request":          current("NeverUsed: "),

	"never-used":       current("NeverUsed: "),
	"cap-is-zero":      current("CapIsZero: "),
	"awaiting-usage":   current("AwaitingUsage: "),
	"usage-incomplete": current("UsageIncomplete: "),
	"suspended":        current("Suspended: "),
	"disabled":         suspended("Disabled: "),

	"credential-in-url":    failed("CredentialInUrl: "),
	"invalid-url":          failed("InvalidUrl: "),
	"duplicate-gateway-id": failed("DuplicateGatewayId: "),

	// The status is about the spec before the edit.
	"classified-then-edited":   waiting,
	"classified-then-disabled": waiting,
	"classified-then-pinned":   waiting,
	"disabled-then-enabled":    waiting,
	"refused-then-mended":      waiting,

	// The registration in ContextForge is a part of Ready. The operator tries again by itself, and the cause may be in
	// another object that is applied later, so nothing of it is Stalled.
	"registered":                  current("AboveCut: "),
	"registration-pending":        inProgress("Pending: "),
	"registration-rejected":       inProgress("Rejected: "),
	"registration-not-configured": inProgress("NotConfigured: "),
	// Nothing is known that was not known before.
	"registered-then-unreachable": current("AboveCut: "),
	"registered-then-edited":      waiting,
	"registered-then-deleted":     deleting,

	"created-then-deleted":    deleting,
	"classified-then-deleted": deleting,
	"disabled-then-deleted":   deleting,
	"refused-then-deleted":    deleting,
}

var fleets = map[string]verdict{
	"created":    waiting,
	"ready":      current("Ready: "),
	"suspending": inProgress("Suspending: "),
	"suspended":  suspended("Suspended: "),

	// Classified without the silent endpoint, and nothing to classify.
	"endpoint-silent": current("EndpointsSilent: "),
	"no-use-known":    current("NoUseKnown: "),

	// A later cycle repairs these by itself.
	"usage-incomplete":  inProgress("QuorumMissed: "),
	"redis-unreachable": inProgress("Unreachable: "),

	// A person must act.
	"lock-of-another-release": failed("LockHeldByAnotherRelease: "),
	"permissions-missing":     failed("Forbidden: "),

	// The status describes the spec before the edit.
	"ready-then-suspended":   waiting,
	"suspended-then-resumed": waiting,

	"ready-then-deleted": deleting,
}

func states(t *testing.T, folder string) map[string]*unstructured.Unstructured {
	t.Helper()
	files, err := filepath.Glob(folder + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no states in %s: %v", folder, err)
	}
	found := map[string]*unstructured.Unstructured{}
	for _, file := range files {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(read(t, file)); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		found[strings.TrimSuffix(filepath.Base(file), ".json")] = object
	}
	return found
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// each runs a test for each state of the tables. It fails when a table and its folder differ.
func each(t *testing.T, judge func(t *testing.T, object *unstructured.Unstructured, want verdict)) {
	t.Helper()
	for folder, table := range tables {
		found := states(t, folder)
		for name := range found {
			if _, known := table[name]; !known {
				t.Errorf("%s/%s.json is missing in the table", folder, name)
			}
		}
		for name, want := range table {
			object, there := found[name]
			if !there {
				t.Errorf("%s/%s.json does not exist", folder, name)
				continue
			}
			t.Run(folder+"/"+name, func(t *testing.T) { judge(t, object, want) })
		}
	}
}

func TestKstatus(t *testing.T) {
	each(t, func(t *testing.T, object *unstructured.Unstructured, want verdict) {
		got, err := status.Compute(object)
		if err != nil {
			t.Fatal(err)
		}
		if got.Status != want.kstatus {
			t.Errorf("%s (%s), want %s", got.Status, got.Message, want.kstatus)
		}
	})
}

func TestArgoCD(t *testing.T) {
	script := string(read(t, integrations+"health.lua"))
	each(t, func(t *testing.T, object *unstructured.Unstructured, want verdict) {
		health := argoHealth(t, script, object.Object)
		if health["status"] != want.argo || !strings.HasPrefix(health["message"], want.message) {
			t.Errorf("%v, want %s, %q", health, want.argo, want.message)
		}
	})
}

// The script returns a health that Argo CD knows, even if a person or another program has changed the status.
func TestArgoCDWithoutOurStatus(t *testing.T) {
	script := string(read(t, integrations+"health.lua"))
	for _, text := range []string{
		`{"metadata": {"generation": 1}}`,
		`{"metadata": {"generation": 1}, "status": {}}`,
		`{"metadata": {"generation": 1}, "status": {"observedGeneration": 1}}`,
		`{"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": []}}`,
		`{"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "Unknown", "reason": "Pending"}]}}`,
		`{"metadata": {"generation": 1}, "status": {"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True", "reason": "Classified"}]}}`,
	} {
		var object map[string]any
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			t.Fatal(err)
		}
		if health := argoHealth(t, script, object); health["status"] != "Progressing" {
			t.Errorf("%v for %s", health, text)
		}
	}
}

func TestFlux(t *testing.T) {
	evaluators := fluxEvaluators(t, read(t, integrations+"flux-health.yaml"))
	each(t, func(t *testing.T, object *unstructured.Unstructured, want verdict) {
		got, err := evaluators[object.GetKind()].Evaluate(context.Background(), object)
		if err != nil {
			t.Fatal(err)
		}
		// Flux checks the health of objects that it applies. For those that it deletes it only waits.
		if want.flux != "" && string(got.Status) != string(want.flux) {
			t.Errorf("%s, want %s", got.Status, want.flux)
		}
	})
}

// The ConfigMap for Argo CD contains the script, for both kinds.
func TestConfigMapForArgoCD(t *testing.T) {
	var found struct{ Data map[string]string }
	if err := yaml.UnmarshalStrict(read(t, integrations+"argocd-cm.yaml"), &struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct{ Name, Namespace string }
		Data       *map[string]string
	}{Data: &found.Data}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"McpGateway", "McpGatewayFleet"} {
		key := "resource.customizations.health.mcpgateway.io_" + kind
		if found.Data[key] != string(read(t, integrations+"health.lua")) {
			t.Errorf("argocd-cm.yaml does not contain health.lua under %s", key)
		}
	}
	if len(found.Data) != 2 {
		t.Errorf("argocd-cm.yaml has %d keys", len(found.Data))
	}
}

// argoHealth runs the script as Argo CD does: only the libraries package, base and table (Argo CD's os library, with
// dates, is not needed here), at most one second, the object as the global obj, and a table of two strings as the
// result.
func argoHealth(t *testing.T, script string, object map[string]any) map[string]string {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", luaValue(state, object))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("it returns %v", state.Get(-1))
	}
	health := map[string]string{}
	result.ForEach(func(key, value lua.LValue) { health[key.String()] = value.String() })
	return health
}

func luaValue(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case float64:
		return lua.LNumber(value)
	case int64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		list := state.CreateTable(len(value), 0)
		for _, item := range value {
			list.Append(luaValue(state, item))
		}
		return list
	case map[string]any:
		fields := state.CreateTable(0, len(value))
		for key, item := range value {
			fields.RawSetString(key, luaValue(state, item))
		}
		return fields
	}
	return lua.LNil
}

// fluxEvaluators returns the evaluator of each kind.
func fluxEvaluators(t *testing.T, data []byte) map[string]*cel.StatusEvaluator {
	t.Helper()
	var found struct {
		HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
	}
	if err := yaml.UnmarshalStrict(data, &found); err != nil {
		t.Fatal(err)
	}
	evaluators := map[string]*cel.StatusEvaluator{}
	for _, check := range found.HealthCheckExprs {
		if check.APIVersion != "mcpgateway.io/v1alpha1" {
			t.Fatalf("%+v", check)
		}
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			t.Fatal(err)
		}
		evaluators[check.Kind] = evaluator
	}
	if len(found.HealthCheckExprs) != 2 || evaluators["McpGateway"] == nil || evaluators["McpGatewayFleet"] == nil {
		t.Fatalf("%+v", found.HealthCheckExprs)
	}
	return evaluators
}
