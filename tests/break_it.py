"""Breaks lcomp on purpose, one mechanism at a time, and shows the test that notices.

    python tests/break_it.py              # all of them, about twenty minutes
    python tests/break_it.py mask lock    # those whose names hold a word

Each mechanism is a target in the source and a mutation that takes it away: `mutations.py` has the kinds. A copy of the
project is changed, the named test runs on the copy and must fail there by its own assertion: `noticing.py`. Exit code 1
when a break goes unnoticed.
"""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mutations import (
    Mutation,
    always,
    begins,
    constant,
    decorated,
    ignored,
    keyless,
    left_out,
    mutated,
    never,
    renamed,
    replaced,
    returns,
    rewritten,
    uncalled,
)
from noticing import noticed

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


@dataclass(frozen=True)
class Break:
    """`mutation` of `target` takes a mechanism away; `test` must then fail."""

    name: str
    target: str
    mutation: Mutation
    test: str


BREAKS = [
    Break(
        "layers that a technique puts in are known to those after it",
        "Technique.prepare_after_others",
        never(),
        "test_examples.py::test_layers_that_a_technique_has_put_in_are_quantized",
    ),
    Break(
        "a subclass that computes otherwise stays float",
        "computes_as_its_kind",
        returns("True"),
        "test_foreign_networks.py::test_layers_left_in_float_are_named_with_the_reason_and_the_others_become_integers",
    ),
    Break(
        "only weights whose zeros survive are pruned",
        "keeps_zeros",
        returns("True"),
        "test_foreign_networks.py::test_only_layers_whose_zeros_survive_are_pruned",
    ),
    Break(
        "a layer with hooks stays float",
        "reason_against",
        never(1),
        "test_foreign_networks.py::test_eight_bits_change_logits_by_a_rounding",
    ),
    Break(
        "what forward does not use is left alone",
        "acted_on",
        never(2),
        "test_foreign_networks.py::test_what_forward_does_not_use_neither_counts_nor_is_ranked",
    ),
    Break(
        "one mask for one weight",
        "Pruning.register_mask",
        replaced("_a.setdefault(_b, _c)", "_c"),
        "test_foreign_networks.py::test_a_shared_weight_has_one_mask_one_set_of_integers_and_counts_once",
    ),
    Break(
        "a weight that an embedding has too",
        "apart_from",
        returns("False"),
        "test_foreign_networks.py::test_a_weight_that_something_else_holds_too_is_left_alone",
    ),
    Break(
        "a batch norm over another axis stays",
        "batch_norms",
        replaced("_a is not None and _b == 2", "True"),
        "test_foreign_networks.py::test_a_batch_norm_over_another_axis_is_not_folded",
    ),
    Break(
        "nothing folds into a weight that is read elsewhere",
        "called_once",
        ignored(2),
        "test_foreign_networks.py::test_nothing_folds_into_a_layer_whose_weight_is_read_elsewhere",
    ),
    Break(
        "biases of nearly dead channels in 32 bits",
        "keep_biases_in_range",
        never(2),
        "test_foreign_networks.py::test_biases_of_nearly_dead_channels_stay_within_32_bits",
    ),
    Break(
        "a decoder for each reader of integers",
        "onnx_export:export",
        uncalled("own_decoders"),
        "test_foreign_networks.py::test_weights_used_in_two_places_stand_in_the_file_once_and_pack",
    ),
    Break(
        "the weight in force is pruned",
        "Pruning.scores",
        replaced("_f(_a, _b)", "_a.parametrizations.weight.original", 1),
        "test_foreign_networks.py::test_the_weight_in_force_is_what_is_pruned_and_rounded",
    ),
    Break(
        "parameters of what forward uses",
        "of_network",
        always(2),
        "test_foreign_networks.py::test_what_forward_does_not_use_neither_counts_nor_is_ranked",
    ),
    Break(
        "a range that nothing observed is none",
        "Quantization.finalize",
        never(3),
        "test_foreign_networks.py::test_ranges_freeze_although_a_layer_is_never_called",
    ),
    Break(
        "zeros around integers are their zero point",
        "decode_late",
        replaced("_a[1]", "''"),
        "test_additions.py::test_zeros_around_integers_are_their_zero_point",
    ),
    Break(
        "a tensor is rounded once",
        "Planner.readers",
        never(1),
        "test_additions.py::test_each_tensor_is_rounded_once",
    ),
    Break(
        "pooling's input is rounded",
        "Planner.plan",
        never(6),
        "test_additions.py::test_additions_and_averages_are_of_integers[Inverted]",
    ),
    Break(
        "masks hold after the optimizer's step",
        "Mask.forward",
        replaced("torch.where(self.mask, _a, 0.0)", "_a * torch.where(self.mask | _a.requires_grad, 1.0, 0.0)"),
        "test_pruning.py::test_masks_hold_after_every_step_in_spite_of_momentum",
    ),
    Break("masks only shrink", "prune_masks", uncalled("masked_fill"), "test_pruning.py::test_masks_only_shrink"),
    Break(
        "sparsity exact to one weight among equal scores",
        "lowest",
        replaced("_a - int(_b.sum())", "None"),
        "test_pruning.py::test_equal_scores_still_give_the_exact_count",
    ),
    Break(
        "the sparsity of a window that ends with training",
        "Pruning.on_train_end",
        never(),
        "test_pruning.py::test_a_window_that_ends_with_training_still_reaches_the_sparsity",
    ),
    Break(
        "the gate of gated pruning",
        "GatedPruning.on_validation_end",
        replaced("_a >= _b - _c", "True"),
        "test_pruning.py::test_gated_sparsity_grows_only_while_accuracy_holds",
    ),
    Break(
        "the mean of an ensemble's softened outputs",
        "Ensemble.forward",
        replaced("_a.logsumexp(0) - _b", "_a.mean(0)"),
        "test_distillation.py::test_an_ensembles_softened_outputs_are_the_mean_of_its_members",
    ),
    Break(
        "members of an ensemble drawn apart",
        "make_baseline",
        replaced("_a.seed + _b", "_a.seed"),
        "test_end_to_end.py::test_an_ensemble_of_baselines_is_drawn_from_seeds_in_a_row_and_cached",
    ),
    Break(
        "latencies measured at a sweep's end",
        "GridSweeper.sweep",
        uncalled("measure_deferred"),
        "test_launcher.py::test_in_workers_and_in_turn_a_sweep_gives_the_same_artifacts_and_all_latencies",
    ),
    Break(
        "the record of a killed worker's run",
        "record_lost_if_begun",
        never(),
        "test_launcher.py::test_a_death_before_a_run_begins_costs_no_run_and_many_end_the_sweep",
    ),
    Break(
        "moments that lie in a checkpoint as its weights do",
        "fit",
        left_out(20),
        "test_training.py::test_moments_in_a_checkpoint_lie_as_its_weights_do",
    ),
    Break(
        "teachers that lie as they prefer",
        "DistillationModule.on_fit_start",
        never(),
        "test_modules.py::test_teachers_lie_as_they_prefer_while_they_teach_and_as_they_were_afterwards",
    ),
    Break(
        "ReLUs behind their convolutions in an artifact",
        "PooledReLU.forward",
        never(),
        "test_export.py::test_an_artifact_has_each_relu_behind_its_convolution",
    ),
    Break(
        "the unit of rounded biases",
        "on_grid",
        left_out(3),
        "test_packed.py::test_rounded_biases_are_whole_multiples_and_near",
    ),
    Break(
        "networks that flatten by view",
        "fit",
        replaced("getattr(_a, 'memory_format', _b)", "torch.channels_last"),
        "test_training.py::test_a_network_that_flattens_by_view_trains",
    ),
    Break(
        "the mean of the training loss over an epoch's examples",
        "BaselineModule.on_train_epoch_end",
        replaced("_a / sum(_b)", "_a / len(_b) / _b[0]"),
        "test_modules.py::test_the_logged_training_loss_is_the_mean_over_the_epochs_examples",
    ),
    Break(
        "T^2 of the distillation loss",
        "logit_distillation",
        replaced("_a * _b**2", "_a"),
        "test_distillation.py::test_loss_is_the_formula",
    ),
    Break(
        "batch mean of the distillation loss",
        "logit_distillation",
        replaced("_a / len(_b)", "_a"),
        "test_distillation.py::test_loss_is_the_formula",
    ),
    Break(
        "under a teacher the labels' loss is the task's",
        "DistillationModule.__init__",
        replaced("isinstance(_a, LogitDistillation)", "False"),
        "test_modules.py::test_under_a_teacher_the_labels_loss_is_the_tasks",
    ),
    Break(
        "data-free distillation of a task without pixels is refused before training",
        "check_task",
        never(),
        "test_data_free.py::test_a_task_without_pixels_is_refused_before_the_baseline_trains",
    ),
    Break(
        "the frozen teacher outside the checkpoint",
        "DistillationModule.__init__",
        replaced("[_a.eval().requires_grad_(False)]", "nn.ModuleList([_a.train()])"),
        "test_modules.py::test_teacher_is_frozen_and_no_part_of_the_checkpoint",
    ),
    Break(
        "freezing of the ranges",
        "QuantizationAwareTraining.on_train_batch_start",
        replaced("_a >= self.freeze", "False"),
        "test_quantization.py::test_rounding_starts_at_begin_and_ranges_freeze",
    ),
    Break(
        "zeros stay zero when quantized",
        "WeightQuantizer.rounded",
        replaced("self.grid.nearest(_a, self.threshold)", "self.grid.nearest(_a + 0.5, self.threshold)"),
        "test_quantization.py::test_weights_round_to_their_grid_and_zeros_stay_zeros",
    ),
    Break(
        "exact integer kernels",
        "inference_session",
        always(),
        "test_measure.py::test_sessions_ask_for_exact_integer_kernels_where_the_others_saturate_on_one_thread[False]",
    ),
    Break(
        "signs of a batch norm's gain",
        "fold_batch_norm",
        replaced("_a.sign()", "_a.sign().abs()"),
        "test_quantization.py::test_batch_norm_is_folded_exactly_and_leaves_integer_kernels",
    ),
    Break(
        "bounds of narrow activations",
        "Input.forward",
        left_out(4),
        "test_quantization.py::test_narrow_activations_saturate_in_the_file_as_in_the_network",
    ),
    Break(
        "the lock of the cache",
        "cached",
        replaced("filelock.FileLock(_a)", "__import__('contextlib').nullcontext()"),
        "test_baseline.py::test_processes_that_need_it_at_once_train_it_once",
    ),
    Break(
        "hashes of a cached baseline",
        "intact",
        ignored(4),
        "test_baseline.py::test_a_damaged_entry_is_noticed_and_trained_again",
    ),
    Break(
        "hashes of MNIST's files",
        "mnist",
        never(1),
        "test_data.py::test_altered_or_missing_file_names_file_and_hash_and_touches_nothing",
    ),
    Break(
        "files whole or not at all",
        "write_atomically",
        uncalled("unlink"),
        "test_files.py::test_a_failed_write_leaves_the_old_file_and_no_debris",
    ),
    Break(
        "order of an epoch after a resume",
        "ShuffledBatches.__iter__",
        decorated("lambda draw: lambda self: iter(list(draw(self)))"),
        "test_contract.py::test_technique_resumes_to_the_same_weights",
    ),
    Break(
        "parametrizations before the optimizer",
        "Technique.setup",
        renamed("on_train_start", "self, trainer, pl_module, stage='fit'"),
        "test_contract.py::test_technique_resumes_to_the_same_weights",
    ),
    Break(
        "canonical numbers of the configuration's hash",
        "identity:canonical",
        always(3),
        "test_files.py::test_numbers_that_agree_hash_alike",
    ),
    Break(
        "seeds of the perturbations",
        "perturb",
        replaced("_f(*_a)", "torch.default_generator"),
        "test_perturbations.py::test_pure_seeded_and_within_0_and_1",
    ),
    Break(
        "a heavy import off the command line",
        "composition:folder",
        begins("import torch"),
        "test_command_line.py::test_help_lists_the_groups_and_commands_worth_trying",
    ),
    Break(
        "stripped exporter's debris",
        "strip",
        left_out(1),
        "test_export.py::test_file_holds_the_graph_and_nothing_of_the_exporters",
    ),
    Break(
        "the exporter's cause is said, not its banner",
        "innermost_message",
        replaced("_f(_g(_a)[-1], paragraphs=1)", "_f(_a)"),
        "test_preflight.py::test_what_cannot_be_exported_is_refused_with_its_line_before_training",
    ),
    Break(
        "an export is tried before the baseline trains",
        "make_baseline.train",
        left_out(1),
        "test_user_code.py::test_what_cannot_be_exported_is_said_before_the_baseline_trains",
    ),
    Break(
        "an exported network is held against itself",
        "try_export",
        never(2),
        "test_preflight.py::test_what_cannot_be_exported_is_refused_with_its_line_before_training",
    ),
    Break(
        "an example's logits are its own",
        "check_deterministic",
        never(4),
        "test_preflight.py::test_a_network_that_cannot_be_trained_or_measured_is_refused_by_name",
    ),
    Break(
        "bytes are divided by 255",
        "Form.pixels",
        uncalled("div_"),
        "test_preflight.py::test_a_harmless_batch_is_read_as_pixels_and_labels",
    ),
    Break(
        "every label is looked at",
        "Form.labels",
        never(6),
        "test_preflight.py::test_a_label_out_of_range_is_found_wherever_it_stands",
    ),
    Break(
        "a loader without a length is counted",
        "Batches.__len__",
        replaced("_f('batches')", "1"),
        "test_preflight.py::test_streams_without_a_length_are_counted_and_train",
    ),
    Break(
        "asking a network first leaves its random numbers alone",
        "accept",
        replaced("isolate_rng()", "__import__('contextlib').nullcontext(torch.rand(1))"),
        "test_preflight.py::test_a_network_that_is_right_stays_as_it_is",
    ),
    Break(
        "a point that was asked for is withdrawn",
        "SearchWorker.reason_to_discard",
        never(2),
        "test_study.py::test_no_point_runs_twice_and_the_budget_is_kept",
    ),
    Break(
        "a trial beyond the budget is withdrawn",
        "SearchWorker.reason_to_discard",
        never(3),
        "test_study.py::test_a_trial_beyond_the_budget_is_withdrawn",
    ),
    Break(
        "a finished run survives its worker's death",
        "fail_trial",
        never(1),
        "test_study.py::test_a_run_that_had_ended_when_its_worker_died_is_kept",
    ),
    Break(
        "the user's interruptions use up no tries",
        "fail_trial",
        replaced("None if _a else _b.max_retries + _c", "_b.max_retries"),
        "test_study.py::test_interruptions_by_the_user_do_not_use_up_the_retries",
    ),
    Break(
        "a stale trial is taken over",
        "SearchWorker.next_trial",
        left_out(4),
        "test_study.py::test_a_trial_of_another_machine_that_no_longer_beats_is_taken_over",
    ),
    Break(
        "a sampler goes on where it was",
        "SearchWorker.next_trial",
        replaced("_a - _b + 1000003 * _c", "time.time_ns() % 1000003"),
        "test_study.py::test_one_worker_repeats_itself_and_resuming_goes_on_as_if_nothing_had_been",
    ),
    Break(
        "epochs of a denser network are not told",
        "Epochs.on_validation_end",
        ignored(2),
        "test_epochs.py::test_epochs_before_a_schedule_has_ended_are_not_told",
    ),
    Break(
        "a sweep's folder has one process",
        "exclusive_folder",
        uncalled("acquire"),
        "test_sweeps.py::test_a_folder_is_one_process_s_own",
    ),
    Break(
        "an equal result has equal code",
        "result_cache:find_equal_run",
        never(2),
        "test_reuse.py::test_another_experiment_or_other_code_is_not_taken",
    ),
    Break(
        "what failed too often is left",
        "sweep:missing_points",
        never(2),
        "test_sweeps.py::test_a_run_that_failed_too_often_is_left",
    ),
    Break(
        "a password in a URL is hidden",
        "URL",
        constant("://[^\\s'\\\"]++", "=://[^\\s'\\\"]++"),
        "test_mirror.py::test_no_secret_reaches_it",
    ),
    Break(
        "a failed run is one in W&B",
        "WandbLogger.write",
        replaced("0 if _a in ('ok', 'pruned') else 1", "0"),
        "test_mirror.py::test_runs_that_failed_are_there_with_their_cause",
    ),
    Break(
        "a baseline is mirrored once in a sweep",
        "WandbLogger.complete_baseline",
        always(3),
        "test_mirror.py::test_a_baseline_is_a_run_of_its_own_and_once_in_a_sweep",
    ),
    Break(
        "W&B is said not to work once",
        "without_errors",
        always(),
        "test_mirror.py::test_a_picture_that_cannot_be_made_costs_nothing_else_and_is_said_once",
    ),
    Break(
        "TensorBoard's figures are written anew",
        "TensorBoardLogger.end",
        uncalled("unlink"),
        "test_logger_contents.py::test_tensorboard_compares_runs_of_different_techniques_by_their_parameters_and_figures",
    ),
    Break(
        "the table of epochs keeps those of before an interruption",
        "csv_logger:epoch_rows",
        replaced("_a not in there", "False"),
        "test_logger_contents.py::test_csv_has_the_epochs_then_the_record_and_gets_latencies_later",
    ),
    Break(
        "a class that is stated takes the place of chosen loggers",
        "ValueSources.drop_leftovers",
        replaced("path == 'logger' and _a", "False"),
        "test_logger_contents.py::test_a_class_that_is_stated_takes_the_place_of_what_is_chosen_and_a_chosen_file_s_goes_beside_it",
    ),
    Break(
        "loggers of others are not begun again at a sweep's end",
        "sweep_completion:own_loggers",
        replaced("_a.startswith(OWN)", "True"),
        "test_logger_contents.py::test_lost_runs_are_told_of_at_a_sweep_s_end_and_others_loggers_are_not_begun_again",
    ),
    Break(
        "a key that no logger takes is refused",
        "logger_settings:each_logger",
        never(7),
        "test_logger_contents.py::test_what_no_logger_takes_is_refused",
    ),
    Break(
        "MLflow is told of a record that is whole",
        "MlflowLogger.end",
        never(1),
        "test_logger_contents.py::test_mlflow_has_the_run_once_in_a_database_beside_the_sweep",
    ),
    Break(
        "W&B's files stay in the run's folder",
        "files_inside",
        left_out(2),
        "test_mirror.py::test_pictures_and_the_artifact",
    ),
    Break(
        "runs that W&B has not got are refused",
        "check_synced",
        replaced("_a.with_suffix('.wandb.synced').exists()", "True"),
        "test_report_files.py::test_runs_that_are_not_synced_are_refused_with_the_command",
    ),
    Break(
        "the page's data cannot end its script",
        "embedded",
        uncalled("replace", 3),
        "test_page.py::test_what_a_configuration_says_stays_text",
    ),
    Break(
        "the page's front is chosen on validation",
        "page.js",
        rewritten("merit: (_a) => meritOf(_a.val) }", "merit: (_a) => meritOf(_a.test) }"),
        "test_page.py::test_the_front_is_chosen_on_validation",
    ),
    Break(
        "the front of corruption errors is chosen on validation",
        "robustness.js",
        rewritten("-errorOver(_a, _b, true)", "-errorOver(_a, _b)"),
        "test_robustness_page.py::test_errors_against_size_are_a_front_that_falls_and_is_chosen_on_validation",
    ),
    Break(
        "an example that is a batch by itself is changed anew in each epoch",
        "datamodule:Examples.__getitem__",
        replaced("_a.order.epoch", "0"),
        "test_augmentations.py::test_another_epoch_sees_other_crops_and_a_resumed_one_the_same",
    ),
    Break(
        "labels are mixed as images are",
        "Mixup.__call__",
        replaced("_a[_b].lerp_(_a, _c[:, None])", "_a"),
        "test_augmentations.py::test_mixup_mixes_labels_as_it_mixes_images",
    ),
    Break(
        "a file of the same size and time is known by its change",
        "image_files:stamp",
        replaced("_a.st_ctime_ns", "0"),
        "test_image_folder.py::test_files_are_decoded_once_and_again_where_they_change",
    ),
    Break(
        "broken files are refused",
        "report_broken",
        never(3),
        "test_image_folder.py::test_broken_files_are_named_or_left_out",
    ),
    Break(
        "what is held out is not trained on",
        "hold_out",
        replaced("_a[_b:]", "_a"),
        "test_image_folder.py::test_without_val_or_test_examples_are_held_out_by_seed",
    ),
    Break(
        "what is larger than the setting is streamed",
        "ImageFolderDataModule.__init__",
        replaced("_a.bytes > _b * 2**30", "False"),
        "test_image_folder.py::test_what_is_larger_than_the_setting_is_streamed_alike",
    ),
    Break(
        "baselines stand first in the map of accuracies",
        "robustness.js",
        rewritten("_r.sort((_a, _b) => _b.first - _a.first);", ""),
        "test_robustness_page.py::test_the_map_holds_means_over_seeds_with_baselines_first_and_the_hardest_last",
    ),
    Break(
        "an example is lost when most baselines get it right",
        "exemplars:exemplar_indices",
        replaced("_a & (np.mean(_b, axis=0) > 0.5)", "_a"),
        "test_predictions.py::test_exemplars_are_what_most_baselines_get_right_and_most_networks_wrong",
    ),
    Break(
        "pixels are kept of what the baseline gets right",
        "kept_mistakes",
        replaced("_a & _b.correct", "_a"),
        "test_predictions.py::test_pixels_are_kept_of_the_first_mistakes_and_of_the_first_that_the_baseline_gets_right",
    ),
    Break(
        "the study of robustness holds each seed against its own plain baseline",
        "robustness:relative_to_plain",
        replaced("_b[_a.seed]", "next(iter(_b.values()))"),
        "test_robustness_report.py::test_rows_are_held_against_the_plain_baseline_of_their_seed",
    ),
    Break(
        "points of a study are over the network that a row started from",
        "cifar10:study_cells",
        replaced("_a['test_accuracy'] - _b['test_accuracy']", "_a['test_accuracy']"),
        "test_cifar10_studies.py::test_rows_stand_beside_what_was_published_and_what_they_started_from",
    ),
    Break(
        "weights that lean have a form of their own in version 2",
        "write_integer_weight",
        replaced("_a.version > 1", "False"),
        "test_packed.py::test_version_2_rebuilds_the_same_network_in_fewer_bytes_and_version_1_has_no_such_form",
    ),
    Break(
        "a file of version 1 has no form of version 2",
        "read_parameters",
        replaced("_a.version > 1", "True"),
        "test_packed.py::test_version_2_rebuilds_the_same_network_in_fewer_bytes_and_version_1_has_no_such_form",
    ),
    Break(
        "a filter takes runs away",
        "page.js",
        rewritten("const _c = (_i) => !state.off.has(_i.technique) &&", "const _c = (_i) =>"),
        "test_page.py::test_a_filter_changes_points_and_rows",
    ),
    Break(
        "seeds are one group",
        "ReportRun.point",
        replaced("not _a.startswith('seed=')", "True"),
        "test_report_files.py::test_seeds_are_grouped_and_labels_hold_what_differs",
    ),
    Break(
        "every value of a grid is composed before it begins",
        "grid_points:representative_points",
        replaced("not _a <= _b or not _c", "not _b"),
        "test_space.py::test_a_grid_is_composed_once_for_each_value_beside_each_choice",
    ),
    Break(
        "the surgeon moves the weights that stay",
        "OptimalBrainSurgeon.compensated",
        replaced("_a - (_b @ _c).squeeze(2)", "_a"),
        "test_criteria.py::test_the_surgeon_leaves_the_loss_as_low_as_it_can_be",
    ),
    Break(
        "ternary weights have their paper's threshold",
        "Ternary.nearest",
        replaced("_a.abs() > _b", "_a.abs() > 0.5"),
        "test_grids.py::test_ternary_is_that_of_its_paper",
    ),
    Break(
        "a cut network is the masked one",
        "FilterPruning.finalize",
        never(4),
        "test_channels.py::test_a_wrong_cut_never_leaves_silently",
    ),
    Break(
        "one channel of each group stays",
        "FilterPruning.importance",
        left_out(7),
        "test_filters.py::test_one_channel_of_each_group_stays_at_any_sparsity",
    ),
    Break(
        "a lottery ticket rewinds",
        "LotteryTicket.end_round",
        replaced("_a.copy_(_b)", "_b.copy_(_a)", 1),
        "test_lottery.py::test_the_lowest_of_the_trained_weights_go_and_all_that_is_left_returns",
    ),
    Break(
        "a lottery ticket begins from fresh weights",
        "LotteryTicket.starts_fresh",
        constant(True, False),
        "test_whole_chains.py::test_a_lottery_ticket_starts_from_the_weights_that_the_seed_draws",
    ),
    Break(
        "a learned step's gradient is scaled",
        "scale_gradient",
        replaced("_a ** -0.5", "1.0"),
        "test_lsq.py::test_forward_and_gradients_are_those_of_the_paper",
    ),
    Break(
        "PyTorch's integer layers shift by the zero point",
        "IntegerLayer.integers",
        uncalled("add_"),
        "test_runtimes.py::test_every_engine_gives_the_logits_of_the_network",
    ),
    Break(
        "OpenVINO leaves float activations as they are",
        "openvino:SETTINGS",
        constant(0, 32),
        "test_runtimes.py::test_every_engine_gives_the_logits_of_the_network",
    ),
    Break(
        "OpenVINO's answers are copies",
        "OpenVINO.session.answer",
        uncalled("copy"),
        "test_runtimes.py::test_answers_do_not_change_with_the_next_question",
    ),
    Break(
        "an engine's file follows the artifact",
        "Converting.file",
        ignored(2),
        "test_runtimes.py::test_a_file_is_made_once_and_again_when_the_artifact_is_new",
    ),
    Break(
        "the price on bytes is paid once a step",
        "EntropyRegularizedTraining.on_before_optimizer_step",
        renamed("on_after_backward", "self, trainer, pl_module, optimizer=None"),
        "test_entropy.py::test_the_price_is_paid_once_a_step_however_many_batches_it_has",
    ),
    Break(
        "the price on bytes reaches the weights",
        "soft_counts",
        replaced("_a - _b", "(_a - _b).detach() + 0 * _a", 2),
        "test_entropy.py::test_a_weight_is_pulled_to_the_level_that_others_have",
    ),
    Break(
        "the price on bytes is the coder's",
        "code_length",
        replaced("_a + 0.5", "_a + 1.0"),
        "test_entropy.py::test_code_length_of_whole_levels_is_the_coders",
    ),
    Break(
        "the price counts what masks leave",
        "priced_weights",
        replaced("weight_before(_a, PricedWeight)", "_a.parametrizations.weight.original"),
        "test_entropy.py::test_the_price_counts_what_a_mask_leaves_and_begins_with_rounding",
    ),
    Break(
        "a gradient passes at the ends of an activation's range",
        "fake_quantize",
        replaced("levels - zero_point", "levels - zero_point - 0.49"),
        "test_quantization.py::test_gradient_passes_inside_the_range_and_stops_outside",
    ),
    Break(
        "noise leaves some weights as they are",
        "NoisyWeight.forward",
        replaced("torch.where(_a, _b, _c)", "_b"),
        "test_noise.py::test_a_step_rounds_the_share_and_leaves_the_others",
    ),
    Break(
        "widths keep their budget",
        "mixed:cheapest",
        replaced("_a[_b] <= _c", "_a[_b] <= 2 * _c"),
        "test_mixed.py::test_the_choice_is_that_of_brute_force",
    ),
    Break(
        "shared values learn",
        "Codebook.forward",
        replaced("self.table", "(self.table.detach() + 0 * self.table)"),
        "test_shared.py::test_a_value_s_gradient_is_the_sum_over_its_weights",
    ),
    Break(
        "the memory of a packed network's arrays is bounded",
        "Reader.claim",
        left_out(2),
        "test_bombs.py::test_many_arrays_are_counted_together",
    ),
    Break(
        "the blocks of a packed network are counted",
        "Coder.adaptive",
        left_out(7),
        "test_bombs.py::test_tables_of_many_levels_are_counted_each_time_they_are_made",
    ),
    Break(
        "checkpoints unpack to the bytes that they have",
        "check_checkpoint",
        never(3),
        "test_bombs.py::test_a_checkpoint_takes_no_more_than_it_has_bytes",
    ),
    Break(
        "aliases of YAML are refused",
        "check_events",
        never(1),
        "test_bombs.py::test_aliases_of_yaml_are_refused_and_interpolations_stay",
    ),
    Break(
        "secrets tell points apart",
        "point_key:canonical_point",
        never(2),
        "test_redact.py::test_points_differ_by_their_secrets_and_a_record_without_these_is_still_theirs",
    ),
    Break(
        "links of the report are paths",
        "run_data",
        uncalled("relative_url"),
        "test_escaping.py::test_a_report_of_a_hostile_folder_has_only_text",
    ),
    Break(
        "cells of a spreadsheet are no formulas",
        "csv_cell",
        never(2),
        "test_escaping.py::test_a_spreadsheet_computes_nothing",
    ),
    Break(
        "the checksum of a packed network",
        "file:read_network",
        never(3),
        "test_packed_damage.py::test_every_corruption_is_refused",
    ),
    Break(
        "what follows the end of a packed network is seen",
        "Reader.end",
        never(),
        "test_packed_damage.py::test_a_crafted_file_is_refused_for_its_own_reason",
    ),
    Break(
        "a file's numbers have a budget",
        "Reader.spend",
        never(),
        "test_packed_damage.py::test_a_crafted_file_is_refused_for_its_own_reason",
    ),
    Break(
        "tables of whole numbers that constriction need not round",
        "FrequencyTable.__init__",
        replaced("_a - 1", "(_a - 1) / 3"),
        "test_packed_format.py::test_the_coder_is_that_of_the_document_for_tables_of_any_weights",
    ),
    Break(
        "neighbours' signs in planes",
        "kernels",
        replaced("leans(_a, _b, _c, _d)", "0 * leans(_a, _b, _c, _d)"),
        "test_packed.py::test_smooth_kernels_take_less_than_the_same_weights_in_another_order",
    ),
    Break(
        "levels of fewer bits than 8 come back from a Clip",
        "decoded_integers",
        replaced("_a.get(_b, 255)", "255"),
        "test_packed.py::test_narrow_activations_are_one_step",
    ),
    Break(
        "the hint is a half",
        "hint_loss",
        replaced("_a / 2", "_a"),
        "test_objectives.py::test_the_hint_is_half_the_squared_distance",
    ),
    Break(
        "negatives are of another class",
        "CRD.draw",
        replaced("_a >= _b", "_a < 0"),
        "test_crd.py::test_what_is_drawn_is_of_another_class_and_each_as_often",
    ),
    Break(
        "the constant of contrastive distillation is that of the first batch",
        "CRD.loss",
        always(1),
        "test_crd.py::test_loss_constant_and_memories_are_those_of_the_paper",
    ),
    Break(
        "what contrastive distillation remembers is in the checkpoint",
        "CRD.prepare",
        replaced("self.register_buffer(name, _a)", "self.register_buffer(name, _a, persistent=False)"),
        "test_crd.py::test_memories_are_in_the_checkpoint_and_not_in_what_is_exported",
    ),
    Break(
        "the label is none of the others of decoupled distillation",
        "decoupled_divergences",
        replaced("_a.masked_fill(_b, 0)", "_a"),
        "test_dkd.py::test_the_parts_are_divergences_of_the_label_and_of_the_others",
    ),
    Break(
        "relations of equal features have gradients that stay small",
        "rkd:unit",
        replaced("_a.where(_a > 0, 1)", "_a.clamp(min=1e-12)"),
        "test_rkd.py::test_examples_of_the_same_features_leave_finite_gradients[collapsed3]",
    ),
    Break(
        "an objective's layers are looked for before the baseline trains",
        "check_later_training",
        never(1),
        "test_crd.py::test_what_cannot_be_contrasted_is_refused_before_the_baseline_trains[student]",
    ),
    Break(
        "what an objective learns reaches the optimizer",
        "Distillation.__init__",
        replaced("nn.ModuleDict(_a)", "_a"),
        "test_objectives.py::test_what_is_learned_reaches_optimizer_and_checkpoint_and_moves",
    ),
    Break(
        "a link is its teacher's too",
        "make_intermediate",
        keyless("teacher"),
        "test_links.py::test_a_link_is_its_teachers_too",
    ),
    Break(
        "data-free calibration is on generated examples",
        "DataFreeModule.inputs",
        renamed("unused", "self, batch"),
        "test_data_free.py::test_no_training_image_is_read_once_the_baseline_is_there",
    ),
    Break(
        "sensitivity leaves the network as it was",
        "changed",
        left_out(7),
        "test_sensitivity.py::test_a_layer_that_nothing_reads_costs_nothing_and_others_do",
    ),
    Break(
        "the records' table shows the largest file",
        "records:record_cells",
        replaced("max", "min"),
        "test_report.py::test_records_show_the_worst_seed_and_the_largest_file",
    ),
    Break(
        "positions of a block are in the channels that the widened weight expects",
        "widened",
        replaced("BLOCK * _a + _b", "BLOCK * _b + _a"),
        "test_space_to_depth.py::test_a_rewritten_convolution_gives_the_same_outputs",
    ),
    Break(
        "scales and biases go with each group of outputs",
        "rewrite",
        replaced("np.tile", "np.repeat"),
        "test_space_to_depth.py::test_integers_stay_integers_and_logits_the_same_bits",
    ),
    Break(
        "no convolution of floats is rewritten where answers must keep their bits",
        "IndexedGraph.candidate",
        ignored(13),
        "test_space_to_depth.py::test_what_runtimes_compute_with_floats_keeps_its_bits_too",
    ),
    Break(
        "a quantized value that others read is not rewritten under them",
        "IndexedGraph.candidate",
        ignored(3),
        "test_space_to_depth.py::test_several_convolutions_of_one_channel",
    ),
    Break(
        "latencies are measured in a process that Hydra did not start",
        "config_loader",
        left_out(1),
        "test_end_to_end.py::test_sweep_leaves_artifacts_and_records",
    ),
    Break(
        "a baseline's cached figures are those of the file that is deployed",
        "Runtime.setting",
        keyless("space_to_depth"),
        "test_runtimes.py::test_a_run_deploys_a_rewritten_artifact_beside_a_rewritten_baseline",
    ),
    Break(
        "the checksum of a record",
        "verified_content",
        ignored(3),
        "test_reuse.py::test_every_flipped_bit_of_a_record_is_noticed",
    ),
    Break(
        "files of an equal run are those that were written",
        "result:read_verified",
        ignored(6),
        "test_reuse.py::test_a_run_whose_files_are_not_what_was_written_is_not_taken",
    ),
    Break(
        "files of an equal run lie in its folder",
        "result:read_verified",
        ignored(4),
        "test_reuse.py::test_nothing_outside_the_runs_folder_is_taken",
    ),
    Break(
        "values of an equal run are of the schema",
        "result:read_verified",
        ignored(2),
        "test_reuse.py::test_values_that_are_not_of_the_schema_are_not_taken",
    ),
    Break(
        "the checksum of a cached baseline's entry",
        "intact",
        replaced(
            "_f(_a) if _b in _a else json.loads(_a)",
            "{k: v for k, v in json.loads(_a).items() if k.encode() != _b}",
        ),
        "test_baseline.py::test_every_flipped_bit_of_an_entry_is_noticed",
    ),
    Break(
        "a worker that ends with code 0 is dead",
        "WorkerPool.receive",
        replaced("(_a.task, _b)", "(_a.task, _b if _a.process.exitcode else None)", 1),
        "test_launcher.py::test_whatever_ends_a_worker_without_its_tasks_result_is_a_death",
    ),
    Break(
        "workers that cannot begin are counted",
        "WorkerPool.count_failed_start",
        never(),
        "test_launcher.py::test_workers_that_cannot_begin_end_the_pool_with_their_cause",
    ),
    Break(
        "workers that begin no run are counted",
        "LocalLauncher.run",
        never(2),
        "test_launcher.py::test_workers_of_a_search_that_die_without_a_trial_end_it",
    ),
    Break(
        "a network that exits is no interruption",
        "stopped_by",
        replaced("isinstance(_a, KeyboardInterrupt) and _b", "isinstance(_a, KeyboardInterrupt | SystemExit)"),
        "test_interruption.py::test_a_network_that_exits_is_a_failed_run_with_its_line",
    ),
    Break(
        "a full disk is no failure of a run",
        "is_machine_error",
        replaced("_a.errno in _b", "False"),
        "test_interruption.py::test_a_fault_of_the_machine_ends_the_grid_and_is_no_try",
    ),
    Break(
        "a study is asked one thing",
        "study_settings:claim_study",
        never(3),
        "test_kept_sweeps.py::test_a_study_is_asked_one_thing",
    ),
    Break(
        "a study's trials say what it was asked",
        "study_settings:settings_of_trials",
        returns("{}"),
        "test_kept_sweeps.py::test_a_study_of_another_program_is_asked_what_its_trials_were",
    ),
    Break(
        "a study learns of a run in its folder once",
        "study_settings:add_finished_runs",
        ignored(2),
        "test_kept_sweeps.py::test_a_study_that_was_lost_has_the_folder_s_runs_again",
    ),
    Break(
        "a run that is no point of a search is not its trial",
        "study_settings:add_finished_runs",
        never(2),
        "test_kept_sweeps.py::test_a_folder_of_another_space_is_refused",
    ),
    Break(
        "a trial whose record was lost runs again",
        "retry_lost",
        never(2),
        "test_kept_sweeps.py::test_a_finished_trial_whose_record_is_broken_runs_again",
    ),
    Break(
        "a sweep's files are read at its start",
        "CachedRepository.load_config",
        always(1),
        "test_kept_sweeps.py::test_a_file_that_is_edited_stays_in_a_sweep_what_it_was_and_is_refused_when_resumed",
    ),
    Break(
        "a student's file is one of a sweep's",
        "configuration_files:file_choices",
        never(3),
        "test_kept_sweeps.py::test_a_student_s_file_is_kept_too",
    ),
    Break(
        "a sweep whose files changed is not resumed",
        "configuration_files:check_unchanged",
        never(2),
        "test_kept_sweeps.py::test_a_sweep_s_folder_notes_its_files",
    ),
    Break(
        "points of the same choices are composed once",
        "configuration_files:compose_points",
        always(3),
        "test_kept_sweeps.py::test_of_ten_thousand_points_each_is_keyed_once_and_few_are_composed",
    ),
    Break(
        "a record that cannot be read is set aside",
        "set_aside_records",
        uncalled("set_aside"),
        "test_kept_sweeps.py::test_a_record_that_is_none_is_set_aside_and_its_point_runs_again",
    ),
    Break(
        "a value that Hydra would read otherwise is quoted",
        "quoting:quoted_value",
        replaced("_a.value() == _b", "_a is not None"),
        "test_kept_sweeps.py::test_hydra_reads_a_quoted_value_as_it_was",
    ),
    Break(
        "a command that resumes names its folder alone",
        "quoting:resume_command",
        always(),
        "test_kept_sweeps.py::test_a_folder_is_resumed_whatever_its_name",
    ),
    Break(
        "what a folder says of its command is not resolved",
        "plain_mapping",
        constant(False, True),
        "test_kept_sweeps.py::test_what_a_folder_says_of_its_command_is_not_resolved",
    ),
    Break(
        "a layer that pads keeps the subtraction before it",
        "fold_normalization",
        never(),
        "test_export.py::test_whatever_the_first_convolution_the_folded_network_is_the_same_function",
    ),
    Break(
        "zeros of one sign in an artifact",
        "onnx_export:export",
        uncalled("drop_signs_of_zeros"),
        "test_export.py::test_pruned_weights_are_zeros_of_one_sign_behind_a_batch_norm",
    ),
    Break(
        "grey as the average of colours",
        "normalization",
        replaced("statistics.fmean(_a)", "_a[0]"),
        "test_models.py::test_each_channel_has_its_own_normalization_and_grey_the_average_of_colours",
    ),
    Break(
        "weights under whatever wraps their names",
        "wrappers",
        returns("['']"),
        "test_weights_file.py::test_names_are_matched_whatever_wraps_either",
    ),
    Break(
        "weights that do not fit",
        "load_weights",
        never(2),
        "test_weights_file.py::test_a_file_that_is_something_else_is_refused_in_a_line",
    ),
    Break(
        "the content of a file of weights as an identity",
        "weights_identity",
        replaced("sha256(_a)", "str(_a)"),
        "test_weights_file.py::test_a_run_begins_with_the_weights_of_the_file_and_its_content_is_its_identity",
    ),
    Break(
        "training asked of a baseline that is read",
        "check_overrides",
        never(),
        "test_weights_file.py::test_what_cannot_go_with_weights_of_a_file_is_refused_before_anything_trains",
    ),
    Break(
        "learning: biases and norms decay under none",
        "spare_vectors",
        returns("None"),
        "test_optimization.py::test_matrices_decay_and_biases_and_norms_do_not",
    ),
    Break(
        "learning: every scheduler begins anew with a round",
        "BaselineModule.make_scheduler",
        never(2),
        "test_optimization.py::test_every_scheduler_begins_anew_with_a_round_of_the_lottery",
    ),
    Break(
        "learning: a scheduler that begins anew leaves loaded rates alone",
        "Restarting.load_state_dict",
        uncalled("update"),
        "test_optimization.py::test_a_resumed_training_has_the_rates_of_a_whole_one",
    ),
    Break(
        "learning: losses in 32 bits",
        "in_32_bits",
        returns("outputs"),
        "test_optimization.py::test_bf16_computes_layers_and_neither_weights_nor_losses",
    ),
    Break(
        "learning: an average is validated",
        "WeightAveraging.on_validation_start",
        returns("None"),
        "test_callbacks.py::test_the_average_is_validated_and_left_in_the_network",
    ),
    Break(
        "learning: a checkpoint holds the average and the weights in training",
        "WeightAveraging.on_load_checkpoint",
        never(1),
        "test_callbacks.py::test_a_resumed_average_is_that_of_a_whole_training_and_a_checkpoint_holds_it",
    ),
    Break(
        "learning: an average begins anew where weights are rewound",
        "WeightAveraging.on_train_batch_end",
        never(2),
        "test_callbacks.py::test_it_begins_anew_where_a_technique_rewinds_the_weights",
    ),
    Break(
        "learning: ranges are no part of an average",
        "weight_averaging:RUNNING",
        constant("running_var", "high"),
        "test_callbacks.py::test_masks_and_ranges_are_the_schedules_own",
    ),
    Break(
        "goes on: global generators go on where they were",
        "random_states:restore",
        returns("None"),
        "test_checkpoints.py::test_a_users_loader_goes_on_to_the_same_bits_from_every_checkpoint[global]",
    ),
    Break(
        "goes on: a loader's own generators go on where they were",
        "own_generators",
        returns("iter(())"),
        "test_checkpoints.py::test_a_users_loader_goes_on_to_the_same_bits_from_every_checkpoint[own]",
    ),
    Break(
        "goes on: the loader is read up to the batch where a checkpoint was written",
        "Checkpoints.skip_batches",
        returns("None"),
        "test_checkpoints.py::test_a_users_loader_goes_on_to_the_same_bits_from_every_checkpoint[global]",
    ),
    Break(
        "goes on: a flipped bit of a checkpoint is seen",
        "CheckpointFiles.newest",
        never(2),
        "test_checkpoints.py::test_a_damaged_checkpoint_is_named_and_the_one_before_taken[flipped]",
    ),
    Break(
        "goes on: a checkpoint of another run is not taken",
        "CheckpointFiles.prefix",
        returns("'x'"),
        "test_checkpoints.py::test_a_checkpoint_of_another_identity_is_not_taken",
    ),
    Break(
        "goes on: a signal ends training after the step",
        "Checkpoints.stop_if_requested",
        returns("None"),
        "test_checkpoints.py::test_a_signal_ends_after_the_step_with_a_checkpoint[3-2]",
    ),
    Break(
        "goes on: a search is told of epochs before the checkpoint",
        "Epochs.load",
        uncalled("report"),
        "test_checkpoints.py::test_a_search_is_told_of_each_epoch_once_whoever_goes_on",
    ),
    Break(
        "goes on: a fit begins with the generators that the data were made with",
        "begin_anew",
        returns("None"),
        "test_checkpoints.py::test_a_fit_does_not_depend_on_what_was_read_before_it",
    ),
    Break(
        "goes on: the best epoch follows the end of the schedules",
        "exportable_metric",
        replaced("_a > last", "False"),
        "test_checkpoints.py::test_no_epoch_is_the_best_before_the_schedules_have_ended",
    ),
    Break(
        "goes on: asking a network which layers it uses changes no quantizer",
        "used_tensors",
        uncalled("copy_"),
        "test_contract.py::test_technique_resumes_to_the_same_weights[quant-qat]",
    ),
    Break(
        "goes on: no folder names code in a run that goes on",
        "overrides_of",
        never(5),
        "test_resume.py::test_what_names_code_is_typed_and_not_taken_from_a_folder[overrides0-flags0]",
    ),
    Break(
        "goes on: a run that has ended is not run again",
        "find_run",
        never(5),
        "test_resume.py::test_a_run_that_has_ended_is_not_run_again[ok]",
    ),
    Break(
        "exact integer kernels where the others saturate",
        "inference_session",
        constant("1", "0"),
        "test_measure.py::test_sessions_ask_for_exact_integer_kernels_where_the_others_saturate_on_one_thread[True]",
    ),
    Break(
        "integer kernels that saturate are found",
        "saturate",
        returns("False"),
        "test_measure.py::test_a_kernel_whose_sums_stop_at_16_bits_is_found[0]",
    ),
    Break(
        "pauses: the others are waited for",
        "Pauses.quieten",
        uncalled("wait_for"),
        "test_pauses.py::test_a_worker_stands_still_while_another_measures_and_then_goes_on_with_its_threads_alive_throughout",
    ),
    Break(
        "pauses: a worker that was asked waits for its turn",
        "Pauses.compute",
        replaced("locked(_a)", "contextmanager(lambda: iter([None]))()"),
        "test_pauses.py::test_a_worker_that_begins_while_another_measures_waits",
    ),
    Break(
        "pauses: not within what must not be interrupted",
        "Pauses.answer",
        always(),
        "test_pauses.py::test_who_measures_waits_until_a_worker_has_done_what_must_not_be_interrupted",
    ),
    Break(
        "pauses: no latency beside one that does not pause",
        "wait_for",
        returns("None"),
        "test_pauses.py::test_one_that_does_not_pause_is_named_and_no_latency_is_measured",
    ),
    Break(
        "pauses: one measures at a time",
        "Pauses.alone",
        replaced("locked(_a)", "contextmanager(lambda: iter([None]))()"),
        "test_pauses.py::test_of_several_that_measure_one_waits_for_another",
    ),
    Break(
        "pauses: those who search for speed are among those that pause",
        "SearchWorker.__call__",
        replaced("self.settings.times_artifacts", "False"),
        "test_timed_search.py::test_a_search_for_the_fastest_tells_the_latency_of_each_trial_as_it_ends",
    ),
    Break(
        "pauses: a trial of a search for speed is timed as it ends",
        "SearchWorker.execute",
        never(1),
        "test_timed_search.py::test_a_search_for_the_fastest_tells_the_latency_of_each_trial_as_it_ends",
    ),
    Break(
        "pauses: an artifact is timed while nothing else is at work",
        "measure_latencies",
        replaced("alone or nullcontext()", "nullcontext()"),
        "test_timed_search.py::test_an_artifact_is_timed_where_nothing_else_is_at_work_also_one_that_an_equal_run_left",
    ),
    Break(
        "what a budget of ranks leaves goes back",
        "factors:by_budget",
        replaced("option.cost > chosen[index].cost and _a", "False"),
        "test_low_rank.py::test_by_budget_takes_from_the_layer_that_loses_least_for_what_it_saves",
    ),
    Break(
        "a layer gives way by what it loses for what it saves",
        "factors:price",
        replaced("_a / (one.cost - other.cost)", "_a"),
        "test_low_rank.py::test_by_budget_takes_from_the_layer_that_loses_least_for_what_it_saves",
    ),
    Break(
        "grouped convolutions are not taken apart",
        "LowRank.reason_against",
        never(1),
        "test_low_rank.py::test_what_stays_is_said",
    ),
    Break(
        "ranks of a fresh network are those of its checkpoint",
        "LowRank.prepare_for",
        returns("self.prepare(network)"),
        "test_low_rank.py::test_it_is_quantized_by_the_layers_name_and_a_checkpoint_goes_into_a_fresh_network",
    ),
    Break(
        "a layer's name means its factors",
        "technique:fits",
        replaced("_a or _b", "_a"),
        "test_low_rank.py::test_it_is_quantized_by_the_layers_name_and_a_checkpoint_goes_into_a_fresh_network",
    ),
    Break(
        "weights are held against what they are given",
        "Wanda.scores",
        replaced("weight.abs() * _a", "weight.abs()"),
        "test_criteria.py::test_wanda_is_the_weight_times_the_norm_of_its_input_by_hand",
    ),
    Break(
        "what watches inputs ends with the batch",
        "Pruning.on_train_batch_end",
        never(),
        "test_criteria.py::test_with_wanda_every_output_is_as_sparse_and_no_hook_is_left",
    ),
    Break(
        "every output goes to the same sparsity",
        "Pruning.pruned_masks",
        replaced("prune_outputs if _a else prune_masks", "prune_masks"),
        "test_criteria.py::test_with_wanda_every_output_is_as_sparse_and_no_hook_is_left",
    ),
    Break(
        "zeros of a shortcut go with the channels that they meet",
        "padded_channels:remove_before",
        left_out(2),
        "test_filters.py::test_channels_go_across_shortcuts_that_pad_with_zeros",
    ),
    Break(
        "operations are counted at both widths",
        "MixedPrecision.per_bit",
        replaced("size * places * _a", "size * places"),
        "test_mixed.py::test_bit_operations_are_multiplications_by_both_widths",
    ),
    Break(
        "C: sums are rounded half up as they are scaled",
        "requantization:scaled",
        replaced("shift - 1", "shift"),
        "test_c.py::test_sums_are_scaled_as_exact_fractions_are_rounded_half_up",
    ),
    Break(
        "C: the bias of sums of bytes is less what their zero adds",
        "bias_of_bytes",
        returns("one.bias"),
        "test_c.py::test_the_c_of_a_random_network_equals_the_reference_bit_for_bit[1]",
    ),
    Break(
        "C: values that meet lie apart in the arena",
        "Buffer.meets",
        returns("False"),
        "test_c.py::test_the_largest_buffer_is_placed_first_and_each_in_the_smallest_gap",
    ),
    Break(
        "C: the deepest chain of calls counts",
        "deepest_stack",
        replaced("max(_a, default=0)", "0"),
        "test_c.py::test_the_stack_is_that_of_the_deepest_chain_of_calls",
    ),
    Break(
        "a sum that floats alone read stays float",
        "Planner.is_of_use",
        returns("True"),
        "test_encoders.py::test_products_of_sequences_are_of_integers_and_sums_that_a_norm_reads_of_floats",
    ),
    Break(
        "weights of products are stored as these read them",
        "store_transposed",
        returns("None"),
        "test_encoders.py::test_products_of_sequences_are_of_integers_and_sums_that_a_norm_reads_of_floats",
    ),
    Break(
        "heads of attention go whole",
        "other_forms",
        returns("iter(())"),
        "test_encoders.py::test_heads_and_neurons_go_from_the_network_and_its_file",
    ),
    Break(
        "a batch is of sentences that are about as long",
        "LengthBatches.__iter__",
        replaced("_a[_b].argsort(kind='stable')", "slice(None)"),
        "test_text.py::test_an_epoch_has_each_sentence_once_in_batches_of_like_length_and_an_order_of_its_own",
    ),
    Break(
        "a part of a split is as long as its longest",
        "split:part",
        always(1),
        "test_text.py::test_splits_of_batches_of_several_lengths_are_whole_and_parts_of_them_short",
    ),
    Break(
        "scales of an embedding's rows are no weights",
        "of_graph",
        replaced("math.prod(_a) > 1", "True"),
        "test_encoders.py::test_zeros_of_embeddings_are_pruned_and_counted",
    ),
    Break(
        "a text that is kept of a mistake is short",
        "predictions_of_texts",
        replaced("_a[:LONGEST]", "_a"),
        "test_text.py::test_mistakes_are_kept_as_texts_and_shown_where_compression_makes_them",
    ),
    Break(
        "attention reads values of one shape",
        "output_shape",
        replaced("len({*inputs}) > 1", "False"),
        "test_packed_sentences.py::test_steps_that_cannot_follow_each_other_are_refused",
    ),
    Break(
        "a sentence has no more tokens than there are places",
        "output_shape",
        replaced("_a.num_embeddings < _b", "False"),
        "test_packed_damage.py::test_a_crafted_file_is_refused_for_its_own_reason",
    ),
    Break(
        "an array is read in the memory that is claimed for it",
        "nothing",
        returns("np.zeros(count, kind)"),
        "test_bombs.py::test_an_array_takes_no_more_memory_while_it_is_read_than_is_claimed_for_it",
    ),
    Break(
        "a packed encoder reads ids and nothing else",
        "check_inputs",
        returns("None"),
        "test_packed_sentences.py::test_steps_that_cannot_follow_each_other_are_refused",
    ),
    Break(
        "what is learned of tokens does not count padding",
        "encoders:of_tokens",
        replaced("values[mask != 0]", "values.flatten(0, 1)"),
        "test_encoder_distillation.py::test_padding_changes_nothing_and_leaves_finite_gradients",
    ),
    Break(
        "students' layers learn from teachers' at even distances, up to the last",
        "teaching_layer",
        replaced("-(-number * teachers // students)", "number"),
        "test_encoder_distillation.py::test_students_layers_learn_from_teachers_at_even_distances",
    ),
    Break(
        "relations are of tokens that are there",
        "log_relations",
        replaced("scores.masked_fill(_a, _b)", "scores"),
        "test_encoder_distillation.py::test_relations_are_divergences_of_each_tokens_shares",
    ),
    Break(
        "words that a slip hits at a severity are hit at a higher one",
        "with_typos",
        replaced('random.Random(f"{kind} {number}")', 'random.Random(f"{kind} {number} {severity}")'),
        "test_typos.py::test_so_many_of_ten_words_have_one_slip_and_more_keep_those_of_fewer",
    ),
    Break(
        "an unknown word is read as the mean of those that are gone",
        "shortened",
        replaced("weight[others].mean(0)", "weight[others[0]]"),
        "test_vocabulary.py::test_only_rows_that_are_looked_up_are_left_and_the_others_mean",
    ),
    Break(
        "each technique calibrates on all batches, whatever read them before",
        "CalibrationInputs.__iter__",
        replaced(
            "self.module.batches(self.data)", "self.__dict__.setdefault('once', iter(self.module.batches(self.data)))"
        ),
        "test_vocabulary.py::test_a_run_removes_layers_or_words_and_measures_what_is_left",
    ),
    Break(
        "C: a strip keeps the rows that the next one reads",
        "Segment.strips_of",
        replaced("max(0, made - _a)", "0"),
        "test_c.py::test_a_strip_keeps_the_rows_that_the_next_one_reads",
    ),
    Break(
        "C: a sum does not lie where the next strip still reads",
        "memory:place_of",
        replaced("[*(n for n in segment.numbers if n < number)] if segment else []", "[]"),
        "test_c.py::test_a_sum_does_not_lie_where_the_next_strip_still_reads",
    ),
    Break(
        "C: what a stride leaves over is not computed",
        "cropping:extent",
        returns("network.values[value].shape[:2]"),
        "test_c.py::test_what_a_stride_leaves_over_is_not_computed",
    ),
    Break(
        "API: settings of a sweep are not swept",
        "is_setting",
        returns("False"),
        "test_api.py::test_values_become_the_command_line_s_words[settings are not swept]",
    ),
    Break(
        "API: what a notebook defines itself cannot be imported",
        "imported_name",
        never(),
        "test_api.py::test_what_has_no_word_is_refused",
    ),
    Break(
        "API: a room with a function's name is called as the function",
        "House.__setattr__",
        never(),
        "test_api.py::test_the_package_is_light_and_its_functions_outlive_the_rooms_of_their_names",
    ),
    Break(
        "API: progress is told now and then",
        "Listener.tell_progress",
        always(),
        "test_api.py::test_a_listener_hears_events_whole_and_progress_now_and_then",
    ),
    Break(
        "doctor: a package outside its range is a fault",
        "problem_of",
        replaced('"" if _a else _b', '""'),
        "test_doctor.py::test_a_package_that_is_not_as_it_must_be_is_a_fault[too old]",
    ),
    Break(
        "extras: what needs one that is missing is refused before the work",
        "check_installed",
        never(),
        "test_extras.py::test_without_captum_attributions_are_refused_before_anything_is_trained",
    ),
    Break(
        "extras: a sweep says first that it leaves no report",
        "tell_missing",
        never(),
        "test_extras.py::test_without_the_extra_a_sweep_says_so_before_its_first_run_and_in_place_of_its_report",
    ),
    Break(
        "a former name is told",
        "resolved_dict",
        left_out(2),
        "test_old_sweeps.py::test_a_former_name_in_a_user_s_file_is_told_once",
    ),
]


def tried(one: Break, folder: Path) -> tuple[bool, str]:
    """Whether the test notices, on a copy of the project without the mechanism, and what it says."""
    for part in ("src", "conf", "tests", "docs", "benchmarks", "examples"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "multirun"))
    for part in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / part, folder)
    place = mutated(SOURCE, one.target, one.mutation)
    inside = place.path.relative_to(SOURCE)
    (folder / "src" / inside).write_text(place.after)
    return noticed(folder, one.test, ".".join(inside.with_suffix("").parts) if inside.suffix == ".py" else None)


def main() -> int:
    """Shows each break and how the test fails; 1 when one goes unnoticed."""
    chosen = [one for one in BREAKS if not sys.argv[1:] or any(word in one.name for word in sys.argv[1:])]
    unnoticed = 0
    for one in chosen:
        with tempfile.TemporaryDirectory() as folder:
            seen, said = tried(one, Path(folder).resolve())
        unnoticed += not seen
        print(f"{'noticed  ' if seen else 'UNNOTICED'} {one.name}: {said[:150]}", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} breaks noticed")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
