"""Fine-tuning as a problem: the examples are its components, base and adapter its blocks."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks, devices
from theory_lab._trees import record
from theory_lab._typing import Array, Block, Key, Params
from theory_lab.constants import Constants
from theory_lab.finetune.encoding import Questions, Sequences
from theory_lab.finetune.scoring import Answers, judged, last_scored, option_scores
from theory_lab.models import Adapter, Config, LlamaConfig, OPTConfig, log_probs
from theory_lab.models.checkpoint import check_base
from theory_lab.models.likelihood import log_p
from theory_lab.models.sharding import split_leaves
from theory_lab.models.transformer import head, hidden_states
from theory_lab.problems.base import Problem

HELD = 2**23  # numbers in the hidden states of the examples that are evaluated at once


class Batch(NamedTuple):
    """Some examples and what each counts in their loss."""

    sequences: Sequences  # (B, T)
    weights: Array | np.ndarray  # (B,)


@record(data=("sequences", "base", "constants", "optimum"))
class FineTune(Problem):
    """f_i(base, peft) = mean of -log p over the tokens of the right option of example i; build it with `fine_tune`.

    Attributes:
        n: the number of examples.
        sequences: every example with its right option, (n, T).
        config: the model.
        base: its parameters at the start.
        adapter: what ``params["peft"]`` is, or None: the parameters are then the base alone.
        dtype: of the computation, by name, or None: that of the embeddings.
        remat: whether the backward pass computes the inside of the layers again instead of keeping it.
    """

    n: int
    sequences: Sequences
    config: Config
    base: Block
    adapter: Adapter | None
    dtype: str | None
    remat: bool
    constants: Constants
    optimum: Params | None

    @property
    def at_once(self) -> int:
        """As many examples as have `HELD` numbers in their hidden states: all, but of large bases."""
        each = self.sequences.tokens.shape[-1] * self.config.hidden_size * self.config.num_hidden_layers
        return min(self.n, max(1, HELD // max(1, each)))

    def init(self, key: Key) -> Params:
        """{"base": the base, not a copy} and, with an adapter, {"peft": its start by this key}."""
        if self.adapter is None:
            return {"base": self.base}
        return {"base": self.base, "peft": self.adapter.init(key, self.config, self.base)}

    def component(self, params: Params, index: Array) -> Array:
        one = jax.tree.map(lambda a: jnp.asarray(a)[index][None], self.sequences)
        return -self.scores(params, one)[0]

    def loss(self, params: Params, batch: Batch, last: int | None = None) -> Array:
        """The weighted sum of a batch's components, a scalar; params may be shifted (`theory_lab.models.perturb`)."""
        return -jnp.sum(self.scores(params, batch.sequences, last) * batch.weights)

    def scores(self, params: Params, sequences: Sequences, last: int | None = None) -> Array:
        """The mean log-probability of the scored tokens of each sequence: (B, T) -> (B,), float32 or wider.

        They are looked for among the ``last`` tokens alone (`scoring.last_scored` says how many hold them all), by default
        among all.
        """
        each = log_probs(
            self.config, params, jnp.asarray(sequences.tokens), jnp.asarray(sequences.present), self.adapter,
            dtype=self.dtype, remat=self.remat, last=last,
        )  # fmt: skip
        return option_scores(each, jnp.asarray(sequences.scored)[..., 1 if last is None else -last :])

    def words(self, params: Params, sequences: Sequences, words: Array) -> Array:
        """log p of words in the place of the one word that each sequence scores: (B, T) and (B, K) -> (B, K).

        So options of one word each are scored by one reading of what comes before them.
        """
        tokens, present, scored = (jnp.asarray(a) for a in (sequences.tokens, sequences.present, sequences.scored))
        h = hidden_states(self.config, params, tokens, present, self.adapter, dtype=self.dtype, remat=self.remat)
        before = jnp.take_along_axis(h, jnp.argmax(scored, axis=-1)[:, None, None] - 1, axis=1)  # (B, 1, E)
        every = jnp.broadcast_to(before, (*words.shape, before.shape[-1]))
        return log_p(every, head(self.config, params["base"]), words)

    def answers(self, params: Params, questions: Questions, *, batch_size: int = 32) -> Answers:
        """What the model answers at these parameters; one compilation for all calls with arrays of the same shapes.

        Args:
            params: as `init` gives.
            questions: as `encode` makes; any, not those of training alone.
            batch_size: sequences at a time (every option is one).

        Raises:
            ValueError: what `encode` has not made, a batch size below 1.
        """
        mesh, params = devices.mesh_of(params), split_leaves(params)
        last = last_scored(questions.options) if isinstance(questions, Questions) else None

        def scores_of(sequences: Sequences) -> Any:
            if mesh is not None and batch_size % mesh.size == 0:
                sequences = devices.split(sequences, mesh)
            return devices.fetch(_scores(self.bare(), params, sequences, last))

        return judged(scores_of, questions, batch_size=batch_size)

    def bare(self) -> "FineTune":
        """The problem without examples and base, for `scores` under jit: compiled once whatever they are."""
        nothing = Sequences(*(np.zeros(0, kind) for kind in (np.int32, np.bool_, np.bool_)))
        return FineTune(0, nothing, self.config, None, self.adapter, self.dtype, False, Constants(), None)


@partial(jax.jit, static_argnames="last")
def _scores(problem: FineTune, params: Params, sequences: Sequences, last: int | None) -> Array:
    return problem.scores(params, sequences, last)


def fine_tune(
    config: Config,
    base: Block,
    questions: Questions,
    adapter: Adapter | None = None,
    *,
    dtype: Any = None,
    remat: bool = False,
) -> FineTune:
    r"""Fine-tuning a language model on a task, as a finite sum with the blocks "base" and "peft".

    .. math:: f_i(z) = -\frac{1}{|S_i|} \sum_{t \in S_i} \log p_z(w_{it} \mid w_{i1}, \dots, w_{i,t-1})

    with S_i the tokens of the right option of example i: the loss of MeZO. All constants are unknown. The same oracles,
    orderings and runs drive it as any other problem, on small models; `train` does the same with steps that need no second
    copy of the base.

    Args:
        config, base: the model, as `load_pretrained` gives.
        questions: the training examples, as `encode` makes.
        adapter: LoRA, prefix or prompt; None trains the base alone.
        dtype: of the computation, float32 or bfloat16; None is that of the embeddings.
        remat: gradient checkpointing: less memory, one more forward pass through the layers in a backward pass.

    Raises:
        ValueError: a base unlike its config, tokens outside its vocabulary, texts (with virtual tokens) longer than it has
            positions, an adapter that does not fit.

    Example:
        >>> from theory_lab.finetune.encoding import encode
        >>> from theory_lab.finetune.tasks import example
        >>> from theory_lab.finetune.tokens import word_tokenizer
        >>> from theory_lab.models import OPTConfig, init_base, lora
        >>> tokenizer = word_tokenizer(["it", "was", "great", "bad"])
        >>> questions = encode([example("a", "It was", [" bad", " great"], 1)], tokenizer)
        >>> config = OPTConfig(len(tokenizer), hidden_size=4, num_hidden_layers=1, num_attention_heads=2, ffn_dim=8,
        ...                    max_position_embeddings=8)
        >>> fine_tune(config, init_base(jax.random.key(0), config), questions, lora(rank=1))
        FineTune(n=1, dimensions={base: 256, peft: 16})

    Reference:
        Malladi et al.: Fine-Tuning Language Models with Just Forward Passes, 2023.
    """
    _checks.instance("config", config, (OPTConfig, LlamaConfig), "an OPTConfig or a LlamaConfig")
    check_base("base", config, base)
    if not jnp.issubdtype(kind := jnp.result_type(*jax.tree.leaves(base)), jnp.floating):
        raise _checks.refuse("base", "of floating-point numbers", str(kind))
    _checks.instance("questions", questions, Questions, "Questions, as encode makes")
    if adapter is not None:
        _checks.instance("adapter", adapter, Adapter, "a LoRA, Prefix or Prompt, or None")
    word = None if dtype is None else _checks.dtype("dtype", dtype, ("float32", "bfloat16"))
    largest = int(np.max(questions.options.tokens))
    if largest >= config.vocab_size:
        raise _checks.refuse("the tokens of questions", f"below the vocabulary's size, {config.vocab_size}", largest)
    right = jax.tree.map(jnp.asarray, questions.right)
    problem = FineTune(len(questions), right, config, base, adapter, word, _checks.flag("remat", remat), Constants(), None)
    jax.eval_shape(lambda key: problem.scores(problem.init(key), right[:1]), jax.random.key(0))  # refuses what does not fit
    return problem
