package bedrock

import (
	"regexp"
	"strconv"
	"strings"
)

// version is a version of Claude.
type version struct{ major, minor int }

// since says whether v is major.minor or a later one.
func (v version) since(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// Up to 3.7 the version precedes the name, as in claude-3-5-haiku; later it
// follows, as in claude-opus-4-1. A date may come after it, which has more
// digits.
var (
	versionFirst = regexp.MustCompile(`anthropic\.claude-(\d{1,2})(?:-(\d{1,2}))?-[a-z]`)
	versionLast  = regexp.MustCompile(`anthropic\.claude-[a-z]+-(\d{1,2})(?:-(\d{1,2}))?(?:\D|$)`)
)

// claudeVersion returns a model's version of Claude. ok is false for other
// models, and for an ARN that does not name the model.
func claudeVersion(model string) (v version, ok bool) {
	for _, names := range [...]*regexp.Regexp{versionFirst, versionLast} {
		m := names.FindStringSubmatch(model)
		if m == nil {
			continue
		}
		v.major, _ = strconv.Atoi(m[1])
		v.minor, _ = strconv.Atoi(m[2])
		return v, true
	}
	return version{}, false
}

// takesStatus says whether a model reads from the status of a result that the tool has
// failed.
func takesStatus(model string) bool { return isClaude(model) || strings.Contains(model, "amazon.nova") }

// isClaude says whether a model is any Claude.
func isClaude(model string) bool { return strings.Contains(model, "anthropic.claude") }
