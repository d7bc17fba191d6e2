"""Writing the seven fields of an admission note for one visit."""

from vesalius.diagnose.cohort.findings import Findings
from vesalius.diagnose.cohort.history import History


class Writer(History, Findings):
    """Write the note of one visit; see `Hand` for the arguments."""

    def write(self) -> dict[str, str]:
        """Return the seven fields by name."""
        return {
            "性别": self.visit.sex,
            "年龄": f"{self.visit.age}岁",
            "主诉": self._complaint(),
            "现病史": self._present_illness(),
            "既往史": self._past_history(),
            "体格检查": self._examination(),
            "辅助检查": self._tests(),
        }
