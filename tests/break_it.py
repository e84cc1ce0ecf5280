"""Breaks lcomp on purpose, one mechanism at a time, and shows the test that notices.

    python tests/break_it.py              # all of them, about ten minutes
    python tests/break_it.py mask lock    # those whose names hold a word

Each mechanism is a piece of source text and what it becomes without it. A copy of the project is changed, the named
test runs on the copy and must fail there. Exit code 1 when a break goes unnoticed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Break:
    """Replaces `text` in `file` (under src/lcomp) by `without`; `test` must then fail."""

    name: str
    file: str
    text: str
    without: str
    test: str


BREAKS = [
    Break(
        "a subclass that computes otherwise stays float",
        "techniques/inspection.py",
        "return is_stock(layer) or agrees(layer, lambda own, x: (plain(own, x), own(x)))",
        "return True",
        "test_foreign_networks.py::test_layers_left_in_float_are_named_with_the_reason_and_the_others_become_integers",
    ),
    Break(
        "only weights whose zeros survive are pruned",
        "techniques/inspection.py",
        "return is_stock(layer) or agrees(layer, response_beyond_zeros)",
        "return True",
        "test_foreign_networks.py::test_only_layers_whose_zeros_survive_are_pruned",
    ),
    Break(
        "a layer with hooks stays float",
        "techniques/quantization/quantization.py",
        "if inspection.hooked(layer, own=[layer_graph.quantize_input]):",
        "if False:",
        "test_foreign_networks.py::test_eight_bits_change_logits_by_a_rounding",
    ),
    Break(
        "what forward does not use is left alone",
        "techniques/technique.py",
        "elif calls is not None and name not in calls.read:",
        "elif False:",
        "test_foreign_networks.py::test_what_forward_does_not_use_neither_counts_nor_is_ranked",
    ),
    Break(
        "one mask for one weight",
        "techniques/pruning/pruning.py",
        "({} if masks is None else masks).setdefault(id(last), Mask(layer.weight, known))",
        "Mask(layer.weight, known)",
        "test_foreign_networks.py::test_a_shared_weight_has_one_mask_one_set_of_integers_and_counts_once",
    ),
    Break(
        "a weight that an embedding has too",
        "techniques/technique.py",
        'f"{name}.weight" in fit and not set(shared.get(name, ())) <= set(fit)',
        "False",
        "test_foreign_networks.py::test_a_weight_that_something_else_holds_too_is_left_alone",
    ),
    Break(
        "a batch norm over another axis stays",
        "techniques/layer_graph.py",
        "vectors = observed is not None and observed.ranks.get(name) == 2",
        "vectors = True",
        "test_foreign_networks.py::test_a_batch_norm_over_another_axis_is_not_folded",
    ),
    Break(
        "nothing folds into a weight that is read elsewhere",
        "techniques/layer_graph.py",
        "if count == 1 and name not in read",
        "if count == 1",
        "test_foreign_networks.py::test_nothing_folds_into_a_layer_whose_weight_is_read_elsewhere",
    ),
    Break(
        "biases of nearly dead channels in 32 bits",
        "techniques/quantization/quantization.py",
        "    if beyond.any():",
        "    if False:",
        "test_foreign_networks.py::test_biases_of_nearly_dead_channels_stay_within_32_bits",
    ),
    Break(
        "a decoder for each reader of integers",
        "export/onnx_export.py",
        "    own_decoders(model)\n",
        "",
        "test_foreign_networks.py::test_weights_used_in_two_places_stand_in_the_file_once_and_pack",
    ),
    Break(
        "the weight in force is pruned",
        "techniques/pruning/pruning.py",
        "weight = beneath(layer, Mask)",
        "weight = original(layer)",
        "test_foreign_networks.py::test_the_weight_in_force_is_what_is_pruned_and_rounded",
    ),
    Break(
        "parameters of what forward uses",
        "evaluation/size.py",
        "for parameter in network.parameters() if id(parameter) in used",
        "for parameter in network.parameters()",
        "test_foreign_networks.py::test_what_forward_does_not_use_neither_counts_nor_is_ranked",
    ),
    Break(
        "a range that nothing observed is none",
        "techniques/quantization/quantization.py",
        "and not owner.input_quantizer.seen:",
        "and False:",
        "test_foreign_networks.py::test_ranges_freeze_although_a_layer_is_never_called",
    ),
    Break(
        "masks hold after the optimizer's step",
        "techniques/pruning/mask.py",
        "return torch.where(self.mask, weight, 0.0)",
        "return weight * torch.where(self.mask | weight.requires_grad, 1.0, 0.0)",
        "test_pruning.py::test_masks_hold_after_every_step_in_spite_of_momentum",
    ),
    Break(
        "masks only shrink",
        "techniques/pruning/mask.py",
        "s.flatten().masked_fill(~m.flatten(), -torch.inf)",
        "s.flatten()",
        "test_pruning.py::test_masks_only_shrink",
    ),
    Break(
        "sparsity exact to one weight among equal scores",
        "techniques/pruning/mask.py",
        "kept[flat.argsort(stable=True)[:pruned]] = False",
        "kept = flat > flat.kthvalue(pruned).values",
        "test_pruning.py::test_equal_scores_still_give_the_exact_count",
    ),
    Break(
        "the sparsity of a window that ends with training",
        "techniques/pruning/pruning.py",
        "if share_of_training(trainer) >= self.end:",
        "if False:",
        "test_pruning.py::test_a_window_that_ends_with_training_still_reaches_the_sparsity",
    ),
    Break(
        "the gate of gated pruning",
        "techniques/pruning/gated.py",
        "self.is_open = accuracy >= self.best - self.tolerance",
        "self.is_open = True",
        "test_pruning.py::test_gated_sparsity_grows_only_while_accuracy_holds",
    ),
    Break(
        "the mean of an ensemble's softened outputs",
        "techniques/distillation/logit.py",
        "softened.logsumexp(0) - math.log(len(self.members))",
        "softened.mean(0)",
        "test_distillation.py::test_an_ensembles_softened_outputs_are_the_mean_of_its_members",
    ),
    Break(
        "members of an ensemble drawn apart",
        "training/components.py",
        "seed = cfg.baseline.trainer, identity.dataset(data), cfg.seed + member",
        "seed = cfg.baseline.trainer, identity.dataset(data), cfg.seed",
        "test_end_to_end.py::test_an_ensemble_of_baselines_is_drawn_from_seeds_in_a_row_and_cached",
    ),
    Break(
        "latencies measured at a sweep's end",
        "../hydra_plugins/lcomp_grid/grid.py",
        "            deferred_latency.complete(folder, sweep.typed)",
        "            pass",
        "test_launcher.py::test_in_workers_and_in_turn_a_sweep_gives_the_same_artifacts_and_all_latencies",
    ),
    Break(
        "the record of a killed worker's run",
        "../hydra_plugins/lcomp_local/local.py",
        "    if began:\n        lose(job, cause)\n",
        "",
        "test_launcher.py::test_a_death_before_a_run_begins_costs_no_run_and_many_end_the_sweep",
    ),
    Break(
        "moments that lie in a checkpoint as its weights do",
        "training/fit.py",
        "state.update({key: value.contiguous() for key, value in state.items() if torch.is_tensor(value)})",
        "pass",
        "test_training.py::test_moments_in_a_checkpoint_lie_as_its_weights_do",
    ),
    Break(
        "teachers that lie as they prefer",
        "modules/distillation.py",
        'if hasattr(network, "memory_format"):',
        "if False:",
        "test_modules.py::test_teachers_lie_as_they_prefer_while_they_teach_and_as_they_were_afterwards",
    ),
    Break(
        "ReLUs behind their convolutions in an artifact",
        "models/layers.py",
        "if torch.compiler.is_exporting() else",
        "if False else",
        "test_export.py::test_an_artifact_has_each_relu_behind_its_convolution",
    ),
    Break(
        "the unit of rounded biases",
        "packed/rounding.py",
        "exponent -= (fraction == 0.5).int()",
        "pass",
        "test_packed.py::test_rounded_biases_are_whole_multiples_and_near",
    ),
    Break(
        "networks that flatten by view",
        "training/fit.py",
        'getattr(network_of(module), "memory_format", torch.contiguous_format)',
        "torch.channels_last",
        "test_training.py::test_a_network_that_flattens_by_view_trains",
    ),
    Break(
        "the mean of the training loss over an epoch's images",
        "modules/baseline.py",
        "/ sum(examples)",
        "/ len(examples) / examples[0]",
        "test_modules.py::test_the_logged_training_loss_is_the_mean_over_the_epochs_images",
    ),
    Break(
        "T^2 of the distillation loss",
        "techniques/distillation/logit.py",
        "(1 - alpha) * temperature**2 * soft",
        "(1 - alpha) * soft",
        "test_distillation.py::test_loss_is_the_formula",
    ),
    Break(
        "batch mean of the distillation loss",
        "techniques/distillation/logit.py",
        'reduction="batchmean"',
        'reduction="mean"',
        "test_distillation.py::test_loss_is_the_formula",
    ),
    Break(
        "the frozen teacher outside the checkpoint",
        "modules/distillation.py",
        "self._teacher = [teacher.eval().requires_grad_(False)]",
        "self.kept = teacher; self._teacher = [teacher.eval()]",
        "test_modules.py::test_teacher_is_frozen_and_no_part_of_the_checkpoint",
    ),
    Break(
        "freezing of the ranges",
        "techniques/quantization/qat.py",
        "late = share_of_training(trainer) >= self.freeze",
        "late = False",
        "test_quantization.py::test_rounding_starts_at_begin_and_ranges_freeze",
    ),
    Break(
        "zeros stay zero when quantized",
        "techniques/quantization/fake.py",
        "(inside + (self.grid.nearest(inside, self.threshold) - inside).detach())",
        "(inside + (self.grid.nearest(inside + 0.5, self.threshold) - inside).detach())",
        "test_quantization.py::test_weights_round_to_their_grid_and_zeros_stay_zeros",
    ),
    Break(
        "exact integer kernels",
        "runtimes/onnxruntime.py",
        'options.add_session_config_entry("session.x64quantprecision", "1")',
        'options.add_session_config_entry("session.x64quantprecision", "0")',
        "test_measure.py::test_sessions_ask_for_exact_integer_kernels_on_one_thread",
    ),
    Break(
        "signs of a batch norm's gain",
        "techniques/quantization/quantization.py",
        "integers.mul_(gain.sign()",
        "integers.mul_(gain.sign().abs()",
        "test_quantization.py::test_batch_norm_is_folded_exactly_and_leaves_integer_kernels",
    ),
    Break(
        "bounds of narrow activations",
        "techniques/quantization/layers.py",
        "x = x.clamp(max=self.highest)",
        "pass",
        "test_quantization.py::test_narrow_activations_saturate_in_the_file_as_in_the_network",
    ),
    Break(
        "the lock of the cache",
        "training/baseline_cache.py",
        'with filelock.FileLock(folder / "lock"):',
        "if True:",
        "test_baseline.py::test_processes_that_need_it_at_once_train_it_once",
    ),
    Break(
        "hashes of a cached baseline",
        "training/baseline_cache.py",
        'all(sha256(folder / n) == entry["sha256"][n] for n in FILES)',
        "True",
        "test_baseline.py::test_a_damaged_entry_is_noticed_and_trained_again",
    ),
    Break(
        "hashes of MNIST's files",
        "data/sources.py",
        "if seen != expected:",
        "if False:",
        "test_data.py::test_altered_or_missing_file_names_file_and_hash_and_touches_nothing",
    ),
    Break(
        "files whole or not at all",
        "record/files.py",
        "Path(temporary).unlink(missing_ok=True)",
        "os.replace(temporary, path)",
        "test_files.py::test_a_failed_write_leaves_the_old_file_and_no_debris",
    ),
    Break(
        "order of an epoch after a resume",
        "data/datamodule.py",
        "yield from torch.from_numpy(order).split(self.batch_size)",
        "return iter(torch.from_numpy(order).split(self.batch_size))",
        "test_contract.py::test_technique_resumes_to_the_same_weights",
    ),
    Break(
        "parametrizations before the optimizer",
        "techniques/technique.py",
        "def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:\n        if stage",
        'def on_train_start(self, trainer, pl_module, stage="fit"):\n        if stage',
        "test_contract.py::test_technique_resumes_to_the_same_weights",
    ),
    Break(
        "canonical numbers of the configuration's hash",
        "config/identity.py",
        "return int(number) if number.is_integer() else number",
        "return value",
        "test_files.py::test_numbers_that_agree_hash_alike",
    ),
    Break(
        "seeds of the perturbations",
        "data/perturbations.py",
        "generator = seeded(*seeds)",
        "generator = torch.default_generator",
        "test_perturbations.py::test_pure_seeded_and_within_0_and_1",
    ),
    Break(
        "a heavy import off the command line",
        "config/run_config.py",
        "from lcomp.errors import UserError, nearest",
        "import torch\nfrom lcomp.errors import UserError, nearest",
        "test_command_line.py::test_help_lists_the_groups_and_commands_worth_trying",
    ),
    Break(
        "stripped exporter's debris",
        "export/onnx_export.py",
        "del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]",
        "pass",
        "test_export.py::test_file_holds_the_graph_and_nothing_of_the_exporters",
    ),
    Break(
        "the exporter's cause is said, not its banner",
        "record/causes.py",
        "named(causes(error)[-1], paragraphs=1)",
        "named(error)",
        "test_preflight.py::test_what_cannot_be_exported_is_refused_with_its_line_before_training",
    ),
    Break(
        "an export is tried before the baseline trains",
        "training/components.py",
        "        preflight.try_export(network, cfg.model, data)\n        log.info",
        "        log.info",
        "test_user_code.py::test_what_cannot_be_exported_is_said_before_the_baseline_trains",
    ),
    Break(
        "an exported network is held against itself",
        "training/preflight.py",
        "if not all(alike(trial(",
        "if False and not all(alike(trial(",
        "test_preflight.py::test_what_cannot_be_exported_is_refused_with_its_line_before_training",
    ),
    Break(
        "an image's logits are its own",
        "training/preflight.py",
        "if not alike(alone, logits[place : place + 1]):",
        "if False:",
        "test_preflight.py::test_a_network_that_cannot_be_trained_or_measured_is_refused_by_name",
    ),
    Break(
        "bytes are divided by 255",
        "tasks/image_batches.py",
        "x = x.float().div_(255)",
        "x = x.float()",
        "test_preflight.py::test_a_harmless_batch_is_read_as_pixels_and_labels",
    ),
    Break(
        "every label is looked at",
        "tasks/image_batches.py",
        "if least < 0 or most >= self.classes:",
        "if False:",
        "test_preflight.py::test_a_label_out_of_range_is_found_wherever_it_stands",
    ),
    Break(
        "a loader without a length is counted",
        "data/loaders.py",
        'return self.counted("batches")',
        "raise",
        "test_preflight.py::test_streams_without_a_length_are_counted_and_train",
    ),
    Break(
        "asking a network first leaves its random numbers alone",
        "training/preflight.py",
        "    with isolate_rng():\n        keep_logits",
        "    if True:\n        torch.rand(1)\n        keep_logits",
        "test_preflight.py::test_a_network_that_is_right_stays_as_it_is",
    ),
    Break(
        "a point that was asked for is withdrawn",
        "search/worker.py",
        "if key(point) in asked_for(before):",
        "if False:",
        "test_study.py::test_no_point_runs_twice_and_the_budget_is_kept",
    ),
    Break(
        "a trial beyond the budget is withdrawn",
        "search/worker.py",
        'return "surplus" if len(before) >= self.settings.n_trials else None',
        "return None",
        "test_study.py::test_a_trial_beyond_the_budget_is_withdrawn",
    ),
    Break(
        "a finished run survives its worker's death",
        "search/study.py",
        "if result and result.is_final:",
        "if False:",
        "test_study.py::test_a_run_that_had_ended_when_its_worker_died_is_kept",
    ),
    Break(
        "the user's interruptions use up no tries",
        "search/study.py",
        "Retry(None if excused(cause) else settings.max_retries + stopped)",
        "Retry(settings.max_retries)",
        "test_study.py::test_interruptions_by_the_user_do_not_use_up_the_retries",
    ),
    Break(
        "a stale trial is taken over",
        "search/worker.py",
        "studies.take_over(self.settings, study)",
        "pass",
        "test_study.py::test_a_trial_of_another_machine_that_no_longer_beats_is_taken_over",
    ),
    Break(
        "a sampler goes on where it was",
        "search/worker.py",
        "seed = len(trials) - len(studies.retried(trials)) + 1000003 * number",
        "import random as r; seed = r.randrange(10**6)",
        "test_study.py::test_one_worker_repeats_itself_and_resuming_goes_on_as_if_nothing_had_been",
    ),
    Break(
        "epochs of a denser network are not told",
        "training/fit.py",
        "settled <= last and share",
        "share",
        "test_epochs.py::test_epochs_before_a_schedule_has_ended_are_not_told",
    ),
    Break(
        "a sweep's folder has one process",
        "sweeps/sweep.py",
        'lock = filelock.FileLock(folder / ".lock", timeout=0)',
        'lock = filelock.FileLock(folder / f".lock{uuid.uuid4()}", timeout=0)',
        "test_sweeps.py::test_a_folder_is_one_process_s_own",
    ),
    Break(
        "an equal result has equal code",
        "record/result_cache.py",
        "(found.config_hash, found.code_hash) != (result.config_hash, result.code_hash)",
        "False",
        "test_reuse.py::test_another_experiment_or_other_code_is_not_taken",
    ),
    Break(
        "what failed too often is left",
        "sweeps/sweep.py",
        "if sum(run.was_tried for run in tries) > max_retries:",
        "if False:",
        "test_sweeps.py::test_a_run_that_failed_too_often_is_left",
    ),
    Break(
        "a password in a URL is hidden",
        "record/redaction.py",
        'URL = re.compile(r"://',
        'URL = re.compile(r"=://',
        "test_mirror.py::test_no_secret_reaches_it",
    ),
    Break(
        "a failed run is one in W&B",
        "tracking/wandb_logger.py",
        'exit_code=0 if result.status in ("ok", "pruned") else 1',
        "exit_code=0",
        "test_mirror.py::test_runs_that_failed_are_there_with_their_cause",
    ),
    Break(
        "a baseline is mirrored once in a sweep",
        "tracking/wandb_logger.py",
        "if note(place) is None:",
        "if True:",
        "test_mirror.py::test_a_baseline_is_a_run_of_its_own_and_once_in_a_sweep",
    ),
    Break(
        "W&B is said not to work once",
        "tracking/wandb_isolation.py",
        "if what not in said:",
        "if True:",
        "test_mirror.py::test_a_picture_that_cannot_be_made_costs_nothing_else_and_is_said_once",
    ),
    Break(
        "W&B's files stay in the run's folder",
        "tracking/wandb_isolation.py",
        'os.environ.update({name: str(folder.absolute() / ".files") for name in PERSONAL})',
        "pass",
        "test_mirror.py::test_pictures_and_the_artifact",
    ),
    Break(
        "runs that W&B has not got are refused",
        "report/wandb_report.py",
        'not path.with_suffix(".wandb.synced").exists()',
        "False",
        "test_report_files.py::test_runs_that_are_not_synced_are_refused_with_the_command",
    ),
    Break(
        "the page's data cannot end its script",
        "report/page.py",
        'text.replace("<", "\\\\u003c").replace(">", "\\\\u003e").replace("&", "\\\\u0026")',
        "text",
        "test_page.py::test_what_a_configuration_says_stays_text",
    ),
    Break(
        "the page's front is chosen on validation",
        "report/page.js",
        "merit: (run) => run.val }",
        "merit: (run) => run.test }",
        "test_page.py::test_the_front_is_chosen_on_validation",
    ),
    Break(
        "the front of corruption errors is chosen on validation",
        "report/robustness.js",
        "-errorOver(run, kind, true)",
        "-errorOver(run, kind)",
        "test_robustness_page.py::test_errors_against_size_are_a_front_that_falls_and_is_chosen_on_validation",
    ),
    Break(
        "baselines stand first in the map of accuracies",
        "report/robustness.js",
        "  rows.sort((a, b) => b.first - a.first);\n",
        "",
        "test_robustness_page.py::test_the_map_holds_means_over_seeds_with_baselines_first_and_the_hardest_last",
    ),
    Break(
        "an image is lost when most baselines get it right",
        "report/exemplars.py",
        " & (np.mean(base, axis=0) > 0.5)",
        "",
        "test_predictions.py::test_exemplars_are_what_most_baselines_get_right_and_most_networks_wrong",
    ),
    Break(
        "pixels are kept of what the baseline gets right",
        "record/predictions.py",
        "wrong & baseline.right if baseline is not None",
        "wrong if baseline is not None",
        "test_predictions.py::test_pixels_are_kept_of_the_first_mistakes_and_of_the_first_that_the_baseline_gets_right",
    ),
    Break(
        "the study of robustness holds each seed against its own plain baseline",
        "report/robustness.py",
        "(result, plain[result.seed]) for result in results if result.seed in plain",
        "(result, list(plain.values())[0]) for result in results",
        "test_robustness_report.py::test_rows_are_held_against_the_plain_baseline_of_their_seed",
    ),
    Break(
        "a filter takes runs away",
        "report/page.js",
        "const chosen = (item) => !state.off.has(item.technique) && ",
        "const chosen = (item) => ",
        "test_page.py::test_a_filter_changes_points_and_rows",
    ),
    Break(
        "seeds are one group",
        "report/runs.py",
        'if not o.startswith("seed="))',
        "if o)",
        "test_report_files.py::test_seeds_are_grouped_and_labels_hold_what_differs",
    ),
    Break(
        "every value of a grid is composed before it begins",
        "sweeps/grid_points.py",
        "if not pairs <= seen or not point:",
        "if not chosen:",
        "test_space.py::test_a_grid_is_composed_once_for_each_value_beside_each_choice",
    ),
    Break(
        "the surgeon moves the weights that stay",
        "techniques/pruning/criteria.py",
        "moved = self.blocks(weight) - (inverse @ (multipliers * going).unsqueeze(2)).squeeze(2)",
        "moved = self.blocks(weight)",
        "test_criteria.py::test_the_surgeon_leaves_the_loss_as_low_as_it_can_be",
    ),
    Break(
        "ternary weights have their paper's threshold",
        "techniques/quantization/grids.py",
        "return x.sign() * (x.abs() > threshold)",
        "return x.sign() * (x.abs() > 0.5)",
        "test_grids.py::test_ternary_is_that_of_its_paper",
    ),
    Break(
        "a cut network is the masked one",
        "techniques/pruning/filters.py",
        "kept = [self.kept(group) for group in self.groups]\n        expected",
        "kept = [self.kept(group).flip(0) for group in self.groups]\n        expected",
        "test_filters.py::test_the_cut_network_computes_what_the_masked_one_did",
    ),
    Break(
        "one channel of each group stays",
        "techniques/pruning/filters.py",
        "        scores[scores.argmax()] = torch.inf\n",
        "",
        "test_filters.py::test_one_channel_of_each_group_stays_at_any_sparsity",
    ),
    Break(
        "a lottery ticket rewinds",
        "techniques/pruning/lottery.py",
        "            value.copy_(early)\n        if isinstance",
        "            early.copy_(value)\n        if isinstance",
        "test_lottery.py::test_the_lowest_of_the_trained_weights_go_and_all_that_is_left_returns",
    ),
    Break(
        "a lottery ticket begins from fresh weights",
        "techniques/pruning/lottery.py",
        "    starts_fresh = True\n",
        "",
        "test_whole_chains.py::test_a_lottery_ticket_starts_from_the_weights_that_the_seed_draws",
    ),
    Break(
        "a learned step's gradient is scaled",
        "techniques/quantization/lsq.py",
        "factor: float = (values * float(largest)) ** -0.5",
        "1.0",
        "test_lsq.py::test_forward_and_gradients_are_those_of_the_paper",
    ),
    Break(
        "PyTorch's integer layers shift by the zero point",
        "runtimes/torch.py",
        ".add_(self.zero_point)",
        "",
        "test_runtimes.py::test_every_engine_gives_the_logits_of_the_network",
    ),
    Break(
        "OpenVINO leaves float activations as they are",
        "runtimes/openvino.py",
        '"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0',
        '"DYNAMIC_QUANTIZATION_GROUP_SIZE": 32',
        "test_runtimes.py::test_every_engine_gives_the_logits_of_the_network",
    ),
    Break(
        "OpenVINO's answers are copies",
        "runtimes/openvino.py",
        ".data.copy()",
        ".data",
        "test_runtimes.py::test_answers_do_not_change_with_the_next_question",
    ),
    Break(
        "an engine's file follows the artifact",
        "runtimes/runtime.py",
        "if not (path.exists() and path.stat().st_mtime_ns >= artifact.stat().st_mtime_ns):",
        "if not path.exists():",
        "test_runtimes.py::test_a_file_is_made_once_and_again_when_the_artifact_is_new",
    ),
    Break(
        "the price on bytes is paid once a step",
        "techniques/quantization/entropy.py",
        "on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any)",
        "on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule)",
        "test_entropy.py::test_the_price_is_paid_once_a_step_however_many_batches_it_has",
    ),
    Break(
        "the price on bytes reaches the weights",
        "techniques/quantization/entropy.py",
        "    share = x - low\n",
        "    share = (x - low).detach()\n",
        "test_entropy.py::test_a_weight_is_pulled_to_the_level_that_others_have",
    ),
    Break(
        "the price on bytes is the coder's",
        "techniques/quantization/entropy.py",
        "torch.lgamma(counts + 0.5)",
        "torch.lgamma(counts + 1.0)",
        "test_entropy.py::test_code_length_of_whole_levels_is_the_coders",
    ),
    Break(
        "the price counts what masks leave",
        "techniques/quantization/entropy.py",
        "beneath(layer, PricedWeight), one",
        "layer.parametrizations.weight.original, one",
        "test_entropy.py::test_the_price_counts_what_a_mask_leaves_and_begins_with_rounding",
    ),
    Break(
        "a gradient passes at the ends of an activation's range",
        "techniques/quantization/fake.py",
        "    return round_through(inside) * scale",
        "    return (round_through(x / scale) + zero_point).clamp(0, levels).sub(zero_point) * scale",
        "test_quantization.py::test_gradient_passes_inside_the_range_and_stops_outside",
    ),
    Break(
        "noise leaves some weights as they are",
        "techniques/quantization/noise.py",
        "return torch.where(self.chosen(weight), rounded, weight)",
        "return rounded",
        "test_noise.py::test_a_step_rounds_the_share_and_leaves_the_others",
    ),
    Break(
        "widths keep their budget",
        "techniques/quantization/mixed.py",
        "order = order[all_costs[order] <= budget]",
        "order = order[all_costs[order] <= 2 * budget]",
        "test_mixed.py::test_the_choice_is_that_of_brute_force",
    ),
    Break(
        "shared values learn",
        "techniques/quantization/shared.py",
        "shared = self.table.index_select(",
        "shared = self.table.detach().index_select(",
        "test_shared.py::test_a_value_s_gradient_is_the_sum_over_its_weights",
    ),
    Break(
        "the memory of a packed network's arrays is bounded",
        "packed/coder.py",
        'limits.check("an array", WHILE_READ * count + self.kept, limits.MEMORY, factor=self.times)',
        "pass",
        "test_bombs.py::test_many_arrays_are_counted_together",
    ),
    Break(
        "the blocks of a packed network are counted",
        "packed/coder.py",
        "self.spend(BLOCK + len(counts.weights))",
        "pass",
        "test_bombs.py::test_tables_of_many_levels_are_counted_each_time_they_are_made",
    ),
    Break(
        "checkpoints unpack to the bytes that they have",
        "record/untrusted.py",
        "if asked > length:",
        "if False:",
        "test_bombs.py::test_a_checkpoint_takes_no_more_than_it_has_bytes",
    ),
    Break(
        "aliases of YAML are refused",
        "record/untrusted.py",
        "if isinstance(event, yaml.AliasEvent):",
        "if False:",
        "test_bombs.py::test_aliases_of_yaml_are_refused_and_interpolations_stay",
    ),
    Break(
        "secrets tell points apart",
        "sweeps/grid_points.py",
        'kept = [DIGEST + "".join(secrets)] if secrets else [hidden] if hidden else []',
        "kept = []",
        "test_redact.py::test_points_differ_by_their_secrets_and_a_record_without_these_is_still_theirs",
    ),
    Break(
        "links of the report are paths",
        "report/charts.py",
        "address(link(run.folder / FILE_NAME, place))",
        "link(run.folder / FILE_NAME, place)",
        "test_escaping.py::test_a_report_of_a_hostile_folder_has_only_text",
    ),
    Break(
        "cells of a spreadsheet are no formulas",
        "escaping.py",
        """return f"'{shown}" if FORMULA.match(shown) and not NUMBER.fullmatch(shown) else shown""",
        "return shown",
        "test_escaping.py::test_a_spreadsheet_computes_nothing",
    ),
    Break(
        "the checksum of a packed network",
        "packed/file.py",
        'if zlib.crc32(file[HEADER:]).to_bytes(4, "little") != file[3:HEADER]:',
        "if False:",
        "test_packed_damage.py::test_every_corruption_is_refused",
    ),
    Break(
        "what follows the end of a packed network is seen",
        "packed/coder.py",
        "if not self.coder.is_empty():",
        "if False:",
        "test_packed_damage.py::test_a_crafted_file_is_refused_for_its_own_reason",
    ),
    Break(
        "a file's numbers have a budget",
        "packed/coder.py",
        "if self.left < 0:",
        "if False:",
        "test_packed_damage.py::test_a_crafted_file_is_refused_for_its_own_reason",
    ),
    Break(
        "tables of whole numbers that constriction need not round",
        "packed/coder.py",
        "(self.frequencies - 1).astype(np.float64)",
        "weights.astype(np.float64)",
        "test_packed_format.py::test_the_coder_is_that_of_the_document_for_tables_of_any_weights",
    ),
    Break(
        "neighbours' signs in planes",
        "packed/tensors.py",
        "lean = np.sign(left + above + np.zeros_like(found[:, 0, 0]))",
        "lean = np.zeros_like(found[:, 0, 0])",
        "test_packed.py::test_smooth_kernels_take_less_than_the_same_weights_in_another_order",
    ),
    Break(
        "levels of fewer bits than 8 come back from a Clip",
        "packed/nodes.py",
        "to.levels.get(quantize.input[0], 255)",
        "255",
        "test_packed.py::test_narrow_activations_are_one_step",
    ),
    Break(
        "the hint is a half",
        "techniques/distillation/fitnets.py",
        ".square().mean() / 2",
        ".square().mean()",
        "test_objectives.py::test_the_hint_is_half_the_squared_distance",
    ),
    Break(
        "what an objective learns reaches the optimizer",
        "techniques/distillation/distillation.py",
        "self.objectives = nn.ModuleDict(dict(objectives or {}))",
        "self.objectives = dict(objectives or {})",
        "test_objectives.py::test_what_is_learned_reaches_optimizer_and_checkpoint_and_moves",
    ),
    Break(
        "a link is its teacher's too",
        "training/teacher_chain.py",
        '        "teacher": known,\n',
        "",
        "test_links.py::test_a_link_is_its_teachers_too",
    ),
    Break(
        "data-free calibration is on generated images",
        "modules/data_free.py",
        "    def pixels(self, batch: Sequence[Tensor]) -> Tensor:",
        "    def unused(self, batch: Sequence[Tensor]) -> Tensor:",
        "test_data_free.py::test_no_training_image_is_read_once_the_baseline_is_there",
    ),
    Break(
        "sensitivity leaves the network as it was",
        "sensitivity/scores.py",
        "    finally:\n        with torch.no_grad():\n            for layer, weight in zip(group, kept, strict=True):\n"
        "                layer.weight.copy_(weight)",
        "    finally:\n        pass",
        "test_sensitivity.py::test_a_layer_that_nothing_reads_costs_nothing_and_others_do",
    ),
    Break(
        "the records' table shows the largest file",
        "report/records.py",
        'f"{max(size):.0f}" if size else ""',
        'f"{min(size):.0f}" if size else ""',
        "test_report.py::test_records_show_the_worst_seed_and_the_largest_file",
    ),
    Break(
        "pixels of a block are in the channels that the widened weight expects",
        "export/space_to_depth/rewriting.py",
        "wide[rows, BLOCK * p + q,",
        "wide[rows, BLOCK * q + p,",
        "test_space_to_depth.py::test_a_rewritten_convolution_gives_the_same_outputs",
    ),
    Break(
        "scales and biases go with each group of outputs",
        "export/space_to_depth/rewriting.py",
        "np.tile(arrays[node.input[slot]], GROUPS)",
        "np.repeat(arrays[node.input[slot]], GROUPS)",
        "test_space_to_depth.py::test_integers_stay_integers_and_logits_the_same_bits",
    ),
    Break(
        "no convolution of floats is rewritten where answers must keep their bits",
        "export/space_to_depth/places.py",
        " or (exactly and not exact)",
        "",
        "test_space_to_depth.py::test_what_runtimes_compute_with_floats_keeps_its_bits_too",
    ),
    Break(
        "a quantized value that others read is not rewritten under them",
        "export/space_to_depth/places.py",
        " and self.uses[before.output[0]] == 1",
        "",
        "test_space_to_depth.py::test_several_convolutions_of_one_channel",
    ),
    Break(
        "a baseline's cached figures are those of the file that is deployed",
        "evaluation/comparison.py",
        ' | {"space_to_depth": runtime.space_to_depth}',
        "",
        "test_runtimes.py::test_a_run_deploys_a_rewritten_artifact_beside_a_rewritten_baseline",
    ),
    Break(
        "the checksum of a record",
        "record/files.py",
        "and sealed(content) == found",
        "",
        "test_reuse.py::test_every_flipped_bit_of_a_record_is_noticed",
    ),
    Break(
        "files of an equal run are those that were written",
        "record/result.py",
        " or sha256(file) != seen",
        "",
        "test_reuse.py::test_a_run_whose_files_are_not_what_was_written_is_not_taken",
    ),
    Break(
        "files of an equal run lie in its folder",
        "record/result.py",
        "Path(name).name != name or file.is_symlink() or ",
        "",
        "test_reuse.py::test_nothing_outside_the_runs_folder_is_taken",
    ),
    Break(
        "values of an equal run are of the schema",
        "record/result.py",
        " or not fits(found[name], kinds[name])",
        "",
        "test_reuse.py::test_values_that_are_not_of_the_schema_are_not_taken",
    ),
    Break(
        "the checksum of a cached baseline's entry",
        "training/baseline_cache.py",
        "unsealed(content) if SEAL.encode() in content else json.loads(content)",
        "{k: v for k, v in json.loads(content).items() if k != SEAL}",
        "test_baseline.py::test_every_flipped_bit_of_an_entry_is_noticed",
    ),
    Break(
        "a worker that ends with code 0 is dead",
        "sweeps/worker_pool.py",
        "if worker.pipe in heard or not worker.lives:",
        "if worker.pipe in heard and worker.lives:",
        "test_launcher.py::test_whatever_ends_a_worker_without_its_tasks_result_is_a_death",
    ),
    Break(
        "workers that cannot begin are counted",
        "sweeps/worker_pool.py",
        "if self.unborn >= UNBORN:",
        "if False:",
        "test_launcher.py::test_workers_that_cannot_begin_end_the_pool_with_their_cause",
    ),
    Break(
        "workers that begin no run are counted",
        "../hydra_plugins/lcomp_local/local.py",
        "if idle > IDLE:",
        "if idle > IDLE and not search:",
        "test_launcher.py::test_workers_of_a_search_that_die_without_a_trial_end_it",
    ),
    Break(
        "a network that exits is no interruption",
        "run.py",
        "(isinstance(error, KeyboardInterrupt) and signals.came)",
        "isinstance(error, KeyboardInterrupt | SystemExit)",
        "test_interruption.py::test_a_network_that_exits_is_a_failed_run_with_its_line",
    ),
    Break(
        "a full disk is no failure of a run",
        "record/interruption.py",
        "return error.errno in ERRNOS",
        "return False",
        "test_interruption.py::test_a_fault_of_the_machine_ends_the_grid_and_is_no_try",
    ),
]


def broken(one: Break, folder: Path) -> tuple[bool, str]:
    """Whether the test fails on a copy of the project without the mechanism, and the line that says so."""
    for part in ("src", "conf", "tests", "docs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / part, folder)
    path = folder / "src" / "lcomp" / one.file
    path.write_text(path.read_text().replace(one.text, one.without))
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--show-capture=no", f"tests/{one.test}"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode == 1 and bool(failed), failed[0][:150] if failed else done.stdout[-300:] + done.stderr[-300:]


def main() -> int:
    """Shows each break and the test that fails; 1 when one goes unnoticed."""
    chosen = [one for one in BREAKS if not sys.argv[1:] or any(word in one.name for word in sys.argv[1:])]
    unnoticed = 0
    for one in chosen:
        with tempfile.TemporaryDirectory() as folder:
            noticed, line = broken(one, Path(folder))
        unnoticed += not noticed
        print(f"{'noticed  ' if noticed else 'UNNOTICED'} {one.name}: {line}", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} breaks noticed")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
