"""Load checkpoints, save them with their card, and publish them on the Hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import CommitInfo
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from span_marker.checkpoints import custom_code, exported, loading, model_card, network, quantization
from span_marker.checkpoints.label_lists import read_label_list
from span_marker.checkpoints.model_card import SpanMarkerModelCardData
from span_marker.checkpoints.optional_files import load_card, load_rules, write_handler
from span_marker.checkpoints.repositories import OUTDATED, open_repository
from span_marker.checkpoints.training_record import TrainingRecord
from span_marker.configuration import AUTO, SpanMarkerConfig
from span_marker.core import folders
from span_marker.core.labels import OUTSIDE
from span_marker.core.notation import read_labels
from span_marker.data.in_memory import AnnotatedData
from span_marker.encoders.engines import Engine
from span_marker.encoders.graph_engine import Backend, GraphEngine
from span_marker.encoders.support import EngineChoice, build_encoder, max_positions, select_engine
from span_marker.heads import CaseEmbedding, RelationHead, SpanClassifier
from span_marker.preprocessing.preprocessor import Preprocessor
from span_marker.preprocessing.processes import enter_process
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer
from span_marker.rules.rules import RULES_FILE, Rules
from span_marker.version import __version__

if TYPE_CHECKING:
    from typing_extensions import Self

PUSH_ARGUMENTS = "repo_id commit_message commit_description private token revision create_pr tags".split()


class SpanMarkerPreTrainedModel(PreTrainedModel):
    """Base class of SpanMarker models: an encoder with its engine, loading and saving.

    Args:
        config: The configuration; it holds the encoder's.
        encoder: The encoder. Defaults to one with random weights, built from the configuration.
        engine: ``"fast"`` or ``"dense"`` to force an engine; ``"auto"`` for the fastest that the encoder can run; or an
            engine.

    Attributes:
        encoder: The encoder.
        engine: Runs texts and markers through the encoder, see `span_marker.encoders.engines`.
        tokenizer: The `SpanMarkerTokenizer`; None until it is set.
        model_card_data: What the user knows about the model, for its card.
        training_record: What `Trainer` recorded for the card; None if it did not train the model.
        card_text: The card of the checkpoint that the model was loaded from, as long as it applies.
        card_changes: Changes since training, for the card, see `note_change`.
        rules: Rules whose entities ``predict`` merges with the model's, or None. They are saved with the model.

    Raises:
        ValueError: If the configuration has no encoder or no labels, or the encoder does not support span markers.
    """

    config_class = SpanMarkerConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True
    config: SpanMarkerConfig
    _keys_to_ignore_on_load_unexpected = [r"^encoder\.pooler\.", r"position_ids$"]  # noqa: RUF012

    def __init__(
        self, config: SpanMarkerConfig, encoder: PreTrainedModel | None = None, engine: EngineChoice | Engine = "auto"
    ) -> None:
        super().__init__(config)
        if config.encoder is None:
            raise ValueError("the configuration has no encoder: use SpanMarkerModel.from_pretrained(..., labels=...)")
        config.check_labels()
        self.encoder: PreTrainedModel = build_encoder(config.encoder) if encoder is None else encoder
        if isinstance(engine, str):
            engine = select_engine(self.encoder, engine, config.marker_max_length)
        self.engine: Engine = engine
        self.tokenizer: SpanMarkerTokenizer | None = None
        self.model_card_data = SpanMarkerModelCardData()
        self.training_record: TrainingRecord | None = None
        self.card_text: str | None = None
        self.card_changes: dict[str, str] = {}
        self.rules: Rules | None = None

    def _init_weights(self, module: nn.Module) -> None:  # an encoder knows how to initialize itself
        std = getattr(self.config.encoder, "initializer_range", 0.02)
        if isinstance(module, SpanClassifier):
            module.initialize(std, self.config.outside_id, self.config.multi_label)
        elif isinstance(module, RelationHead):
            module.initialize(std)
        elif isinstance(module, CaseEmbedding):
            module.reset_parameters()

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's token embeddings."""
        embeddings: nn.Module = self.encoder.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the encoder's token embeddings.

        Args:
            value: The new embeddings.
        """
        self.encoder.set_input_embeddings(value)

    @property
    def backend(self) -> Backend:
        """The backend of the encoder: ``"torch"``, or the runtime of an exported model."""
        return self.engine.backend if isinstance(self.engine, GraphEngine) else "torch"

    @property
    def max_text_length(self) -> int:
        """The text limit in force: the longest text in tokens, special tokens included."""
        limit = self.config.model_max_length_default
        if self.config.model_max_length is not None:
            limit = self.config.limit("model_max_length")
        limits = (limit, self.require_tokenizer().tokenizer.model_max_length, max_positions(self.config.encoder))
        return int(min(limit for limit in limits if limit is not None))

    def require_tokenizer(self) -> SpanMarkerTokenizer:
        """Get the tokenizer.

        Returns:
            The tokenizer.

        Raises:
            ValueError: If there is none.
        """
        if self.tokenizer is None:
            raise ValueError("the model has no tokenizer: load it with from_pretrained, or set model.tokenizer")
        return self.tokenizer

    @property
    def preprocessor(self) -> Preprocessor:
        """Prepares sentences for the model."""
        return Preprocessor(self.require_tokenizer(), self.config, self.max_text_length)

    @property
    def labels(self) -> list[str]:
        """The labels of entities, without ``O``, in the order of their IDs."""
        return [label for label in self.config.classes if label != OUTSIDE]

    def _change_labels(self, labels: Sequence[str]) -> None:
        """Change the labels of a trained model."""

    def _prepare_new(self, arguments: Mapping[str, Any], compatible_with_1x: bool) -> None:
        """Prepare a new model for training, given the caller's settings of the configuration."""

    def generate_model_card(self, **facts: Any) -> str:
        """Generate the model's card: what it is, what it was trained on, and how well it performs.

        Args:
            **facts: Fields of `SpanMarkerModelCardData`. They fill the gaps in ``model_card_data``, for this card only.

        Returns:
            The card, metadata and text. A model that was loaded without ``model_card_data`` and was not trained since
            keeps the card that it was loaded with.
        """
        data = self.model_card_data.filled_up(**facts)
        if self.card_text is not None:
            return model_card.fill_in_model_card(self.card_text, data)
        return model_card.render_model_card(
            self.config, self.max_text_length, data, self.training_record, self.card_changes
        )

    def note_change(self, subject: str, change: str) -> None:
        """State in the card that the model was changed after its metrics were measured, until they are measured again.

        Args:
            subject: What was changed, such as ``"Thresholds"``. It replaces an earlier change of the same.
            change: How it was changed, and what the figures in it were measured on, on one line.
        """
        if self.card_text is not None:
            self.card_text = model_card.note_change_in_card(self.card_text, subject, change)
            return
        self.card_changes.pop(subject, None)  # the latest change comes last
        self.card_changes[subject] = change
        if self.training_record is not None:
            self.training_record.outdated.update(self.training_record.results)

    def write_card(self, folder: str | os.PathLike[str], **facts: Any) -> None:
        """Write the model's card into a folder, as ``README.md``.

        Args:
            folder: The folder; it is created if it does not exist.
            **facts: See `generate_model_card`.
        """
        os.makedirs(folder, exist_ok=True)
        Path(folder, "README.md").write_text(self.generate_model_card(**facts), encoding="utf-8")

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *args: Any,
        push_to_hub: bool = False,
        handler: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write a self-contained checkpoint: configuration, weights, tokenizer, and a card.

        Its files are replaced together: if the process is killed, `from_pretrained` finds either the old or the new
        checkpoint. For a moment, both need disk space.

        Args:
            save_directory: The folder to write to. Existing weights in it are removed.
            *args: Passed to ``PreTrainedModel.save_pretrained``.
            push_to_hub: Whether to publish the model afterwards, see `push_to_hub`.
            handler: Whether to also write ``handler.py`` and ``requirements.txt`` for the Hub's Inference Endpoints.
            **kwargs: Passed to ``PreTrainedModel.save_pretrained``, except for the arguments of `push_to_hub`, whose
                ``repo_id`` defaults to the name of the folder.
        """
        hub_arguments = {name: kwargs.pop(name) for name in PUSH_ARGUMENTS if name in kwargs}
        self.config.span_marker_version = __version__
        if not kwargs.get("is_main_process", True):
            super().save_pretrained(save_directory, *args, **kwargs)
            return
        is_exported = self.backend != "torch"
        if is_exported:
            exported.check_target(save_directory)
        stale = (*exported.outdated_by_weights(save_directory), RULES_FILE)
        with folders.replacing(save_directory, stale) as folder:
            if is_exported:
                exported.save_exported(self, folder)
            else:
                custom_code.save_code(self.encoder, folder)
                super().save_pretrained(folder, *args, **kwargs)
            if self.tokenizer is not None:
                self.tokenizer.save_pretrained(folder)
                self.write_card(folder)
            if self.rules is not None:
                self.rules.save(folder / RULES_FILE)
            if handler:
                write_handler(folder, self.backend if is_exported else None)
        if push_to_hub:
            repo_id = hub_arguments.pop("repo_id", Path(save_directory).name)
            self.push_to_hub(repo_id, handler=handler, **hub_arguments, **kwargs)

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        tags: Sequence[str] = (),
        handler: bool = False,
        **kwargs: Any,
    ) -> CommitInfo:
        """Publish model and card on the Hub in one commit, which deletes weights, graphs and rules of another model.

        Args:
            repo_id: The repository, such as ``"user/name"``. It is created if it does not exist.
            commit_message: Defaults to ``Upload SpanMarkerModel``.
            commit_description: More about the commit.
            private: Whether a new repository is private. Defaults to the setting of the account.
            token: A token with write access. Defaults to the one stored by ``hf auth login``.
            revision: The branch. It is created if it does not exist.
            create_pr: Whether to open a pull request.
            tags: More tags for the card.
            handler: See `save_pretrained`.
            **kwargs: Passed to `save_pretrained`, such as ``max_shard_size``.

        Returns:
            Information about the commit.

        Raises:
            ValueError: If the model is exported, but the repository has weights.
        """
        api, repo_id = open_repository(self.backend != "torch", repo_id, private, token, revision)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, handler=handler, **kwargs)
            self.write_card(folder, model_id=repo_id, tags=[*(self.model_tags or ()), *tags])
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                commit_description=commit_description,
                token=token,
                revision=revision,
                create_pr=create_pr,
                delete_patterns=OUTDATED,
            )

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *model_args: Any,
        labels: Sequence[str] | AnnotatedData | dict[str, AnnotatedData] | None = None,
        config: PreTrainedConfig | None = None,
        engine: EngineChoice = "auto",
        backend: Backend | None = None,
        model_card_data: SpanMarkerModelCardData | None = None,
        compatible_with_1x: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Load a SpanMarker checkpoint, or create a new SpanMarker model from an encoder.

        Args:
            pretrained_model_name_or_path: Folder or repository name of an encoder or a checkpoint.
            *model_args: Passed to ``PreTrainedModel.from_pretrained``.
            labels: The labels of the data set, including ``O``; or the data set itself (a `Dataset`, a pandas data
                frame, or a list of dicts), or a dict of several, to take them from, see `span_marker.infer_labels`.
                Required for an encoder. With data, ``entity_max_length`` of a new model defaults to ``"auto"``:
                `Trainer` takes it from the training data. A checkpoint has its own labels: if you pass others, known
                labels keep their weights and thresholds, new ones are initialized randomly and must be trained, and
                unlisted ones are dropped.
            config: A configuration to use instead of that of the checkpoint or the encoder.
            engine: See `SpanMarkerModel`.
            backend: ``"torch"``; or ``"onnx"`` (ONNX Runtime) or ``"openvino"`` for an exported model, see
                ``docs/export.md``. Defaults to ``"onnx"`` for a folder that has nothing but graphs.
            model_card_data: Information for the model's card. Without it, a checkpoint keeps its existing card until it
                is trained.
            compatible_with_1x: Whether the published 1.x library must be able to read the checkpoints of a new model.
                Such models classify from markers only, lack letter case, relations and several labels per span, and
                train no candidate filter unless you set ``candidates_per_word``. With little data, they are much worse.
            **kwargs: ``model_max_length`` (tokens), ``marker_max_length`` (pairs), ``entity_max_length`` (words),
                ``max_prev_context`` and ``max_next_context`` (sentences), ``multi_label``, ``letter_case``,
                ``decoding``, ``exact``, ``word_splitter`` (a name, a function or its import path), ``relation_labels``
                (a list or data), ``symmetric_relations``, ``relation_types`` and ``candidates_per_word`` (1 by default
                for new models), see `SpanMarkerConfig`. All others are passed to ``transformers``, such as
                ``revision``, ``token``, ``device_map`` and ``dtype`` (or ``"fastest"``, see ``docs/speed.md``).

        Returns:
            The model, with its tokenizer, in evaluation mode.

        Raises:
            TypeError: If an argument is unknown or has the wrong type.
            FileNotFoundError: If the folder does not exist or contains nothing to load.
            ValueError: If an encoder has no labels or does not support markers, a label cannot be read, a limit is
                below 1 or above the encoder's, weights are missing or misshapen, or a file is broken.
        """
        if "attn_implementation" in kwargs:
            raise ValueError("span markers have their own attention: use engine= instead of attn_implementation=")
        limits = {name: kwargs.pop(name) for name in loading.CONFIG_ARGUMENTS if name in kwargs}
        path = pretrained_model_name_or_path
        folders.finish(path)
        backend = exported.choose_backend(path, backend)
        if not isinstance(model_card_data, SpanMarkerModelCardData | None):
            raise TypeError(
                "model_card_data must be a SpanMarkerModelCardData, such as SpanMarkerModelCardData(language='en'), "
                f"not {type(model_card_data).__name__}"
            )
        enter_process(torch.device("cpu"))
        label_list = read_label_list(labels)
        kwargs = network.adapt_to_network(path, kwargs)
        config = loading.load_config(path, kwargs) if config is None else config
        if isinstance(config, SpanMarkerConfig):
            tokenizer = loading.load_tokenizer(path, kwargs)
            loading.fit_checkpoint_config(config, tokenizer, limits, path)
            new_labels = None if label_list is None or list(label_list) == config.tags else read_labels(label_list)
            if compatible_with_1x and (unknown := config.unknown_to_1x):
                raise ValueError(
                    f"compatible_with_1x=True is for new models: {str(path)!r} has {', '.join(unknown)}, which 1.x "
                    "does not support"
                )
            if backend == "torch":
                kwargs = quantization.spare_heads(quantization.choose_dtype(kwargs)) | loading.REPORT_WEIGHTS
                with exported.reading_weights(path, kwargs):
                    loaded: Any = super().from_pretrained(path, *model_args, config=config, engine=engine, **kwargs)
                model, info = loaded
                loading.check_weights(info, path)
            else:
                for_torch = {"engine": engine != "auto", "labels": new_labels is not None}
                unused = {name: None for name, is_set in for_torch.items() if is_set}
                model = exported.load_exported(cls, path, config, backend, kwargs | unused)
            model.tokenizer, model.rules = tokenizer, load_rules(path, kwargs)
            if model_card_data is None:
                model.card_text = load_card(path, kwargs)
            if new_labels is not None:
                model._change_labels(new_labels)
        elif backend != "torch":
            raise ValueError(
                f"{str(path)!r} is an encoder, not an exported SpanMarker model: train one with backend='torch', then "
                "export it with span_marker.export.export_onnx"
            )
        else:
            if label_list is not labels:  # they come from data, and so can the limit
                limits = {"entity_max_length": AUTO, **limits}
            config, encoder, tokenizer = loading.load_encoder(
                path, *model_args, config=config, labels=label_list, limits=limits, **kwargs
            )
            model = cls(config, encoder=encoder, engine=engine)
            model.tokenizer = tokenizer
            quantization.adopt_quantization(model, encoder)
            model._prepare_new(limits, compatible_with_1x)
        model.model_card_data = model_card_data or SpanMarkerModelCardData()
        return model.eval()
